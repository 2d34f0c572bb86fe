// The reviewer: a list of cases, the image with its layers and the replay of its gaze, and a note.

import type { AboutStudy } from "./about";
import { h, key, plural, typing } from "./dom";
import { Picture, type About } from "./picture";
import { COLOURS, heatCanvas, Viewer, type Contour, type Fixations } from "./viewer";

type Flag = "" | "good" | "doubtful" | "exclude";
type Role = "pseudo" | "truth" | "prediction";
type LayerName = "gaze" | "heat" | Role;

interface Listed {
  id: string;
  split: string;
  fixations: number;
  flag: Flag;
  comment: string;
}

interface Layers {
  image: About;
  fixations: Fixations;
  reader: string;
  heat: string;
  outlines: Partial<Record<Role, { threshold?: number; lines: [number, number][][] }[]>>;
}

const FLAGS: [Flag, string, string][] = [["good", "G", "Good"], ["doubtful", "D", "Doubtful"], ["exclude", "X", "Exclude"]];
const LAYERS: [LayerName, string, string][] = [
  ["gaze", "Gaze", COLOURS.gaze],
  ["heat", "Heatmap", "#bb3754"],
  ["pseudo", "Pseudo-mask", COLOURS.pseudo],
  ["truth", "Truth", COLOURS.truth],
  ["prediction", "Prediction", COLOURS.prediction],
];

export async function startReview(app: HTMLElement, about: AboutStudy): Promise<void> {
  const cases = (await (await fetch("/api/cases")).json()) as Listed[];
  new Reviewer(app, about, cases);
}

class Reviewer {
  private readonly viewer = new Viewer({ top: 64, right: 344, bottom: 96, left: 284 });
  private readonly list = h("nav.cases", { "aria-label": "cases" });
  private readonly top = h("header.bar");
  private readonly side = h("aside.side");
  private readonly foot = h("footer.replay");
  private readonly axis = h("canvas.axis");
  private readonly clock = h("span.timer");
  private readonly banner = h("div.banner", { role: "alert" });
  private readonly comment = h("textarea", { rows: "3", maxlength: "4000", placeholder: "What is odd here?" });
  private index = 0;
  private layers: Layers | null = null;
  private heat: HTMLCanvasElement | null = null;
  private on: Record<LayerName, boolean> = { gaze: true, heat: false, pseudo: true, truth: true, prediction: true };
  private now = 0;
  private playing = false;
  private last = 0;

  constructor(
    app: HTMLElement,
    private readonly about: AboutStudy,
    private readonly cases: Listed[],
  ) {
    document.body.dataset.phase = "reviewing";
    app.replaceChildren(this.viewer.canvas, this.top, this.list, this.side, this.foot, this.banner);
    cases.forEach((case_, k) => this.list.append(h("button", { type: "button", click: () => this.go(k) },
      h("span", {}, case_.id), h("i"))));
    this.comment.addEventListener("change", () => this.note({ comment: this.comment.value }));
    this.axis.addEventListener("pointerdown", (event) => this.seek(event));
    this.axis.addEventListener("pointermove", (event) => event.buttons === 1 && this.seek(event));
    window.addEventListener("keydown", (event) => this.press(event));
    window.addEventListener("resize", () => this.draw());
    const tick = (time: number) => {
      if (this.playing) {
        this.now = Math.min(this.now + time - this.last, this.end);
        if (this.now >= this.end) this.playing = false;
        this.draw();
      }
      this.last = time;
      this.viewer.draw();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    void this.go(0);
  }

  private get end(): number {
    const { onset_ms = [], duration_ms = [] } = this.layers?.fixations ?? {};
    return onset_ms.length ? onset_ms[onset_ms.length - 1] + duration_ms[duration_ms.length - 1] : 0;
  }

  private async go(index: number): Promise<void> {
    if (index < 0 || index >= this.cases.length) return;
    if (document.activeElement === this.comment) this.comment.blur(); // saves what was typed
    this.index = index;
    this.playing = false;
    const answer = await fetch(`/api/case/${index}`);
    if (this.index !== index) return; // someone paged on
    if (!answer.ok) {
      this.layers = null;
      this.viewer.show(null);
      this.say(((await answer.json()) as { detail: string }).detail);
      return this.render();
    }
    const layers = (await answer.json()) as Layers;
    const [picture, heat] = await Promise.all([Picture.load(`/api/case/${index}/image`, layers.image), heatCanvas(layers.heat)]);
    if (this.index !== index) return;
    this.say("");
    this.layers = layers;
    this.heat = heat;
    this.viewer.show(picture);
    this.now = this.end;
    this.render();
  }

  private say(text: string): void {
    this.banner.textContent = text;
  }

  private async note(change: Partial<Pick<Listed, "flag" | "comment">>): Promise<void> {
    const case_ = this.cases[this.index];
    const [flag, comment] = [change.flag ?? case_.flag, change.comment ?? case_.comment];
    const index = this.index;
    const answer = await fetch(`/api/case/${index}/note`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ flag, comment }),
    });
    if (!answer.ok) return this.say(((await answer.json()) as { detail: string }).detail);
    Object.assign(case_, { flag, comment });
    this.say("");
    this.render();
  }

  private play(): void {
    if (!this.end) return;
    this.playing = !this.playing;
    if (this.playing && this.now >= this.end) this.now = 0;
    this.draw();
  }

  private toggle(layer: LayerName): void {
    this.on[layer] = !this.on[layer];
    this.render();
  }

  private seek(event: PointerEvent): void {
    this.playing = false;
    this.now = Math.min(Math.max(event.offsetX / this.axis.clientWidth, 0), 1) * this.end;
    this.draw();
  }

  /** To the end of the fixation before or behind. */
  private step(by: number): void {
    const { onset_ms, duration_ms } = this.layers?.fixations ?? { onset_ms: [], duration_ms: [] };
    const current = onset_ms.filter((onset) => onset < this.now).length - 1;
    const next = Math.min(Math.max(current + by, 0), onset_ms.length - 1);
    if (next < 0) return;
    this.playing = false;
    this.now = onset_ms[next] + duration_ms[next];
    this.draw();
  }

  private press(event: KeyboardEvent): void {
    if (event.key === "Escape") this.comment.blur();
    if (typing(event)) return;
    const keys: Record<string, () => void> = {
      " ": () => this.play(),
      ArrowDown: () => void this.go(this.index + 1),
      ArrowUp: () => void this.go(this.index - 1),
      ArrowRight: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      c: () => this.comment.focus(),
      "+": () => this.viewer.zoom(1.25),
      "=": () => this.viewer.zoom(1.25),
      "-": () => this.viewer.zoom(0.8),
      "0": () => this.viewer.fit(),
    };
    for (const [flag, cap] of FLAGS) {
      keys[cap.toLowerCase()] = () => void this.note({ flag: this.cases[this.index].flag === flag ? "" : flag });
    }
    LAYERS.forEach(([layer], k) => (keys[String(k + 1)] = () => this.toggle(layer)));
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  private render(): void {
    const case_ = this.cases[this.index];
    const flagged = this.cases.filter((one) => one.flag).length;
    this.top.replaceChildren(
      h("span.who", {}, case_.id, h("small", {}, case_.split === "none" ? this.about.data : `${this.about.data} · ${case_.split}`)),
      h("span.where", {}, `${this.index + 1} of ${this.cases.length}`),
      h("span.state", {}, h("small", {}, `${flagged} flagged`)),
    );
    [...this.list.children].forEach((row, k) => {
      row.className = `${k === this.index ? "on " : ""}${this.cases[k].flag || (this.cases[k].comment ? "noted" : "")}`;
      (row.lastElementChild as HTMLElement).title = this.cases[k].flag || (this.cases[k].comment ? "comment" : "");
    });
    this.list.children[this.index].scrollIntoView({ block: "nearest" });
    this.renderSide(case_);
    this.foot.replaceChildren(key("Space", this.playing ? "Pause" : "Play", () => this.play(), true), this.axis, this.clock);
    this.draw();
  }

  private renderSide(case_: Listed): void {
    const { layers } = this;
    const there = (layer: LayerName) =>
      layer === "gaze" || layer === "heat" ? Boolean(layers?.fixations.x_px.length) : Boolean(layers?.outlines[layer]);
    const rows = LAYERS.map(([layer, name, colour], k) => {
      const button = key(String(k + 1), there(layer) ? name : `${name}: none`, () => this.toggle(layer));
      const swatch = h("i.swatch");
      swatch.style.background = there(layer) && this.on[layer] ? colour : "transparent";
      swatch.style.borderColor = there(layer) ? colour : "var(--line)";
      button.append(swatch);
      button.classList.toggle("none", !there(layer));
      button.setAttribute("aria-pressed", String(this.on[layer]));
      return button;
    });
    const flags = FLAGS.map(([flag, cap, name]) => {
      const button = key(cap, name, () => void this.note({ flag: case_.flag === flag ? "" : flag }));
      button.classList.add("flag", flag || "plain");
      button.classList.toggle("on", case_.flag === flag);
      return button;
    });
    if (document.activeElement !== this.comment) this.comment.value = case_.comment;
    this.side.replaceChildren(
      h("h2", {}, "Layers"), h("div.column", {}, ...rows),
      h("p.soft", {}, [plural(case_.fixations, "fixation"), layers?.reader, this.about.source].filter(Boolean).join(" · ")),
      h("h2", {}, "Your note"), h("div.column", {}, ...flags), this.comment,
      h("p.soft", {}, h("kbd", {}, "C"), " comment   ", h("kbd", {}, "Esc"), " done"),
      h("p.soft", {}, h("kbd", {}, "↑"), " ", h("kbd", {}, "↓"), " case   ", h("kbd", {}, "←"), " ", h("kbd", {}, "→"), " fixation"),
    );
  }

  private draw(): void {
    const { layers, on } = this;
    const contours: Contour[] = [];
    for (const role of ["pseudo", "truth", "prediction"] as const) {
      const found = (on[role] && layers?.outlines[role]) || [];
      found.forEach(({ lines }, k) => contours.push({
        lines,
        colour: COLOURS[role],
        dash: role === "pseudo" && k < found.length - 1 ? [7, 5] : undefined,
      }));
    }
    this.viewer.overlays = {
      heat: on.heat && layers?.fixations.x_px.length && this.heat ? this.heat : undefined,
      contours,
      path: on.gaze && layers ? { fixations: layers.fixations, until_ms: this.now, numbers: true } : undefined,
    };
    this.clock.textContent = `${(this.now / 1000).toFixed(1)} of ${(this.end / 1000).toFixed(1)} s`;
    const label = this.foot.querySelector(".key span");
    if (label) label.textContent = this.playing ? "Pause" : "Play";
    this.drawAxis();
  }

  private drawAxis(): void {
    const dots = window.devicePixelRatio || 1;
    const [wide, tall] = [this.axis.clientWidth, this.axis.clientHeight];
    this.axis.width = wide * dots;
    this.axis.height = tall * dots;
    const pen = this.axis.getContext("2d")!;
    pen.scale(dots, dots);
    pen.fillStyle = "#1c252e";
    pen.fillRect(0, tall / 2 - 1, wide, 2);
    const { onset_ms = [], duration_ms = [] } = this.layers?.fixations ?? {};
    onset_ms.forEach((onset, k) => {
      pen.fillStyle = onset <= this.now ? COLOURS.gaze : "rgba(230, 159, 0, 0.3)";
      const left = (onset / this.end) * wide;
      pen.fillRect(left, tall / 2 - 10, Math.max((duration_ms[k] / this.end) * wide - 1, 1), 20);
    });
    if (this.end) {
      pen.fillStyle = "#fff";
      pen.fillRect(Math.min((this.now / this.end) * wide, wide - 2), 4, 2, tall - 8);
    }
  }
}
