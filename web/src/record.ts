// The recorder: what the server says is going on decides what is shown; keys ask the server for the next step.

import type { AboutStudy } from "./about";
import { clock, h, key, plural, typing } from "./dom";
import { Picture, type About } from "./picture";
import { Pointer } from "./pointer";
import { Line, type Incoming } from "./socket";
import { runTargets, type Purpose, type TargetShown } from "./targets";
import { COLOURS, heatCanvas, Viewer, type Fixations } from "./viewer";

type Phase = "ready" | "locate" | "scan" | "working" | "review" | "paused" | "targets" | "done";

interface Result {
  contours: { threshold: number; lines: [number, number][][]; share: number }[];
  heat: string;
  took_ms: number;
  fixations: Fixations;
  samples: number;
  seconds: number;
  on_image: number;
}

interface State {
  phase: Phase;
  reader: string;
  total: number;
  done: number;
  skipped: number;
  number: number;
  image: About | null;
  result: Result | null;
  problem: string;
  can_undo: boolean;
  source: string;
  view: "plain" | "window";
  stages: "two" | "one";
  window_px: number;
  blur_px: number;
  measured: boolean;
  validation: { error_px: number; error_deg: number | null; worst_px: number; lost: number; poor: boolean } | null;
  calibrated: boolean;
  seconds: number;
}

interface DeviceFigures {
  hz: number;
  lost: number | null;
}

const BAR = 64;

export function startRecord(app: HTMLElement, about: AboutStudy): void {
  if (about.readers.length === 1) {
    new Recorder(app, about, 0);
    return;
  }
  const choose = (index: number) => {
    window.removeEventListener("keydown", press);
    app.replaceChildren();
    new Recorder(app, about, index);
  };
  const press = (event: KeyboardEvent) => {
    const index = Number(event.key) - 1;
    if (index in about.readers) choose(index);
  };
  window.addEventListener("keydown", press);
  const list = about.readers.map((name, index) => key(String(index + 1), name, () => choose(index)));
  app.replaceChildren(h("main.centre", {}, h("p.kicker", {}, about.data), h("h1", {}, "Who is reading?"),
    h("div.choices", {}, ...list)));
}

class Recorder {
  private state: State | null = null;
  private readonly viewer = new Viewer({ top: BAR, right: 24, bottom: BAR + 12, left: 24 });
  private readonly line: Line;
  private readonly pointer: Pointer;
  private readonly top = h("header.bar");
  private readonly bottom = h("footer.bar");
  private readonly middle = h("div.middle");
  private readonly banner = h("div.banner", { role: "alert" });
  private readonly timer = h("span.timer");
  private readonly device = h("span.device");
  private shown = -1; // the number of the image on the stage
  private began = 0;
  private loading = false;
  private layers = { heat: true, mask: true, path: true };
  private heat: HTMLCanvasElement | null = null;
  private note = "";
  private offline = false;
  private help = false;
  private seq = 0;

  constructor(
    app: HTMLElement,
    private readonly about: AboutStudy,
    private readonly reader: number,
  ) {
    app.replaceChildren(this.viewer.canvas, this.top, this.middle, this.bottom, this.banner);
    this.pointer = new Pointer((t_ms, x_px, y_px) => {
      this.line.send({ type: "samples", seq: this.seq++, t_ms, x_px, y_px });
    });
    this.viewer.onView = (view) => {
      if (this.viewing) this.line.send({ type: "view", t: performance.now(), ...view });
    };
    this.line = new Line(`/ws/page/${reader}`, () => this.hello(), (message) => this.receive(message), (open) => {
      this.offline = !open;
      if (!open) this.pointer.stop();
      this.render();
    });
    window.addEventListener("keydown", (event) => this.press(event));
    window.addEventListener("resize", () => this.resized());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && this.viewing) this.step("pause");
    });
    const tick = () => {
      this.viewer.point(this.pointer.place);
      this.viewer.draw();
      if (this.viewing) this.timer.textContent = clock((performance.now() - this.began) / 1000);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    this.render();
  }

  private get viewing(): boolean {
    return this.state?.phase === "locate" || this.state?.phase === "scan";
  }

  private hello(): object {
    const full = document.fullscreenElement !== null || window.innerHeight === screen.height;
    const frame = (window.outerWidth - window.innerWidth) / 2;
    return {
      type: "hello",
      t: performance.now(),
      width: window.innerWidth,
      height: window.innerHeight,
      screen_width: screen.width || window.innerWidth,
      screen_height: screen.height || window.innerHeight,
      left: full ? 0 : window.screenX + frame,
      top: full ? 0 : window.screenY + window.outerHeight - window.innerHeight - frame,
      scale: window.devicePixelRatio || 1,
    };
  }

  private resized(): void {
    this.line.send(this.hello());
    // a device sees the display: where its samples fell on a page that moved meanwhile is not known
    if (this.viewing && this.state!.source !== "mouse") this.step("pause");
  }

  private step(type: string): void {
    this.note = "";
    this.pointer.flush();
    this.line.send({ type, t: performance.now() });
  }

  private receive(message: Incoming): void {
    if (message.type === "state") void this.enter(message as unknown as State);
    else if (message.type === "device") this.showDevice(message as unknown as DeviceFigures);
    else if (message.type === "note") {
      this.note = String(message.message);
      this.render();
    } else if (message.type === "taken" || message.type === "refused") {
      this.line.close();
      this.pointer.stop();
      this.middle.replaceChildren(h("div.card", {}, h("h1", {}, "This window has stopped"),
        h("p", {}, String(message.message)), h("p.soft", {}, "Nothing that was accepted is lost. Reload to take over again.")));
      this.bottom.replaceChildren();
    }
  }

  private async enter(state: State): Promise<void> {
    const before = this.state;
    this.state = state;
    if (state.image && state.number !== this.shown && !this.loading) await this.load(state);
    if (!state.image) {
      this.shown = -1;
      this.viewer.show(null);
    }
    if (!this.viewing) this.pointer.stop();
    if (state.result && before?.phase !== "review") {
      this.heat = await heatCanvas(state.result.heat);
      this.viewer.lens = null;
      this.viewer.refresh();
    }
    if (state.phase === "targets" && before?.phase !== "targets") void this.targets();
    this.overlay();
    this.render();
  }

  private async load(state: State): Promise<void> {
    this.loading = true;
    try {
      const picture = await Picture.load(`/api/image/${this.reader}/${state.number}`, state.image!);
      this.viewer.lens = state.view === "window" && state.source === "mouse"
        ? { radius: state.window_px, blur: state.blur_px }
        : null;
      this.shown = state.number;
      this.viewer.show(picture);
      this.viewer.draw();
      this.began = performance.now();
      this.pointer.start();
    } finally {
      this.loading = false;
    }
  }

  private async targets(): Promise<void> {
    const purpose = this.purpose;
    const done = await runTargets(this.middle, purpose, this.pointer, this.state!.source === "mouse",
      (shown: TargetShown) => this.line.send({ type: "target", t: performance.now(), ...shown }));
    if (done) this.line.send({ type: "targets_done", t: performance.now(), purpose });
    else this.step("resume");
  }

  private purpose: Purpose = "validation";

  private begin(purpose: Purpose): void {
    this.purpose = purpose;
    this.step("targets");
  }

  private overlay(): void {
    const { state } = this;
    const result = state?.phase === "review" ? state.result : null;
    this.viewer.overlays = result
      ? {
          heat: this.layers.heat && this.heat ? this.heat : undefined,
          contours: this.layers.mask
            ? result.contours.map(({ lines }, index) => ({
                lines,
                colour: index === result.contours.length - 1 ? COLOURS.pseudo : "#a6d8f5",
                dash: index === result.contours.length - 1 ? undefined : [7, 5],
              }))
            : [],
          path: this.layers.path ? { fixations: result.fixations, until_ms: Infinity, faint: true } : undefined,
        }
      : {};
  }

  private toggle(layer: "heat" | "mask" | "path"): void {
    this.layers[layer] = !this.layers[layer];
    this.overlay();
    this.render();
  }

  private press(event: KeyboardEvent): void {
    const { state } = this;
    if (typing(event) || !state || event.repeat && !event.key.startsWith("Arrow")) return;
    if (event.key === "?" || (this.help && event.key === "Escape")) {
      this.help = !this.help;
      return this.render();
    }
    const view = this.view(event.key);
    if (view && this.viewer.picture) {
      event.preventDefault();
      return view();
    }
    const action = this.actions(state)[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Keys that change how the image is shown. */
  private view(name: string): (() => void) | undefined {
    const window_ = (wider: number, brighter: number) => () => {
      this.viewer.picture?.window(wider, brighter);
      this.viewer.refresh();
    };
    const keys: Record<string, () => void> = {
      "+": () => this.viewer.zoom(1.25),
      "=": () => this.viewer.zoom(1.25),
      "-": () => this.viewer.zoom(0.8),
      "0": () => this.viewer.fit(),
      ArrowLeft: () => this.viewer.pan(60, 0),
      ArrowRight: () => this.viewer.pan(-60, 0),
      ArrowUp: () => this.viewer.pan(0, 60),
      ArrowDown: () => this.viewer.pan(0, -60),
      "[": window_(-0.1, 0),
      "]": window_(0.1, 0),
      ",": window_(0, -0.05),
      ".": window_(0, 0.05),
      "\\": () => {
        this.viewer.picture?.reset();
        this.viewer.refresh();
      },
    };
    return keys[name];
  }

  private actions(state: State): Record<string, () => void> {
    const step = (type: string) => () => this.step(type);
    const always = { f: () => void this.fullscreen() };
    const undo: Record<string, () => void> = state.can_undo ? { u: step("undo") } : {};
    const skip = { s: () => this.line.send({ type: "skip", t: performance.now(), reason: "" }) };
    const targets: Record<string, () => void> = { v: () => this.begin("validation") };
    if (state.source !== "mouse") targets.c = () => this.begin("calibration");
    switch (state.phase) {
      case "ready":
        return { ...always, ...undo, ...skip, ...targets, " ": step("begin"), p: step("pause") };
      case "locate":
        return { ...always, ...skip, " ": step("scan"), r: step("redo"), p: step("pause") };
      case "scan":
        return { ...always, ...skip, " ": step("finish"), r: step("redo"), p: step("pause") };
      case "review":
        return {
          ...always, ...skip, Enter: step("accept"), " ": step("accept"), r: step("redo"),
          h: () => this.toggle("heat"), m: () => this.toggle("mask"), g: () => this.toggle("path"),
        };
      case "paused":
        return { ...always, ...targets, " ": step("resume"), p: step("resume") };
      case "done":
        return state.skipped ? { ...always, ...undo, k: step("revisit") } : { ...always, ...undo };
      default:
        return always;
    }
  }

  private async fullscreen(): Promise<void> {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen();
  }

  private showDevice(figures: DeviceFigures): void {
    const lost = figures.lost === null ? "" : ` · ${Math.round(figures.lost * 100)} % lost`;
    this.device.textContent = figures.hz ? `tracker ${figures.hz} Hz${lost}` : "no gaze from the tracker";
    this.device.classList.toggle("bad", !figures.hz || (figures.lost ?? 1) > 0.3);
  }

  private render(): void {
    const { state } = this;
    document.body.dataset.phase = this.offline ? "offline" : (state?.phase ?? "start");
    this.banner.textContent = this.note || state?.problem || "";
    this.banner.classList.toggle("soft", !state?.problem);
    if (this.offline) {
      this.middle.replaceChildren(h("div.card", {}, h("h1", {}, "The recorder has stopped answering"),
        h("p", {}, "Everything accepted is on the disk; the image on the screen will be shown again."),
        h("p.soft", {}, "This page goes on by itself when the server answers. If it was started anew, open the address that it printed.")));
      this.bottom.replaceChildren();
      return;
    }
    if (!state) return;
    const shown = Math.min(state.done + 1, state.total);
    const bar = h("div.progress", { role: "progressbar", "aria-valuemax": String(state.total), "aria-valuenow": String(state.done) },
      h("i"));
    (bar.firstElementChild as HTMLElement).style.width = `${(100 * state.done) / Math.max(state.total, 1)}%`;
    this.top.replaceChildren(
      h("span.who", {}, state.reader, h("small", {}, this.about.data)),
      h("span.where", {}, state.phase === "done" ? `${state.total} of ${state.total}` : `Image ${shown} of ${state.total}`, bar),
      h("span.state", {}, state.source === "mouse" ? null : this.device, this.viewing ? this.timer : null),
    );
    this.bottom.replaceChildren(...this.hints(state));
    if (state.phase !== "targets") this.middle.replaceChildren(...(this.help ? [this.helpCard(state)] : this.card(state)));
  }

  private hints(state: State): Node[] {
    const do_ = this.actions(state);
    const cap = (name: string, does: string, label = name.toUpperCase(), main = false) =>
      do_[name] ? key(label, does, do_[name], main) : null;
    const step = (name: string, on: boolean) => h(on ? "span.step.on" : "span.step", {}, name);
    const left = this.viewing
      ? state.stages === "two"
        ? [step("1 Locate", state.phase === "locate"), step("2 Scan", state.phase === "scan")]
        : [step("Scan", true)]
      : [];
    const list: Record<Phase, (Node | null)[]> = {
      ready: [cap("s", "Skip"), cap("u", "Undo last"), cap("p", "Pause")],
      locate: [cap(" ", "Found it", "Space", true), cap("r", "Start over"), cap("s", "Skip"), cap("p", "Pause")],
      scan: [cap(" ", "Finished", "Space", true), cap("r", "Start over"), cap("s", "Skip"), cap("p", "Pause")],
      working: [],
      review: [
        cap("Enter", "Accept", "Enter", true), cap("r", "Redo"), cap("s", "Skip"),
        h("span.gap"), this.layerKey("H", "Heatmap", "heat"), this.layerKey("M", "Mask", "mask"), this.layerKey("G", "Gaze", "path"),
      ],
      paused: [],
      targets: [],
      done: [],
    };
    const help = state.phase === "targets" || this.viewing ? null : key("?", "Keys", () => {
      this.help = !this.help;
      this.render();
    });
    return [h("span.steps", {}, ...left), h("span.keys", {}, ...list[state.phase]), h("span.right", {}, help)];
  }

  private layerKey(cap: string, does: string, layer: "heat" | "mask" | "path"): Node {
    const button = key(cap, does, () => this.toggle(layer));
    button.classList.toggle("off", !this.layers[layer]);
    return button;
  }

  private card(state: State): Node[] {
    const do_ = this.actions(state);
    const more = (...keys: (Node | null | false)[]) => h("div.more", {}, ...keys);
    const validate = do_.v ? key("V", "Check accuracy", do_.v) : null;
    const calibrate = do_.c ? key("C", "Calibrate", do_.c) : null;
    const full = key("F", "Full screen", do_.f ?? (() => undefined));
    switch (state.phase) {
      case "ready": {
        const two = state.stages === "two";
        return [h("div.card", {}, h("p.kicker", {}, `Image ${state.done + 1} of ${state.total}`),
          h("h1", {}, state.done ? "Ready for the next image" : "Ready when you are"),
          h("ol.protocol", {},
            two ? h("li", {}, h("b", {}, "Locate"), " Find the structure. Press Space when you see it.") : null,
            h("li", {}, h("b", {}, "Scan"), " Look over all of it, from its centre to its border. Press Space at the end.")),
          state.source === "mouse" ? h("p.soft", {}, state.view === "window"
            ? "Only the disc around the pointer is sharp: move it as you would move your eyes, and rest where you look."
            : "The pointer stands for your eyes: move it to where you look, and rest there.") : null,
          key("Space", "Show the image", do_[" "], true),
          more(validate, calibrate, full), this.accuracy(state))];
      }
      case "working":
        return [h("div.card.small", {}, h("p", {}, "Drawing what you looked at …"))];
      case "review": {
        const { fixations, seconds, contours, took_ms, on_image } = state.result!;
        const count = fixations.x_px.length;
        const share = contours.length ? contours[contours.length - 1].share : 0;
        return [h(count ? "div.summary" : "div.summary.bad", { title: `computed in ${took_ms} ms` },
          h("b", {}, plural(count, "fixation")), count && on_image < count ? ` (${count - on_image} off the image)` : "",
          ` · ${seconds.toFixed(1)} s`, count ? ` · mask ${(100 * share).toFixed(1)} % of the image` : " · nothing to learn from: redo")];
      }
      case "paused":
        return [h("div.card", {}, h("h1", {}, "Paused"), h("p", {}, "Take your time. Everything so far is saved."),
          key("Space", "Go on", do_[" "], true), more(validate, calibrate, full))];
      case "done": {
        const accepted = state.done - state.skipped;
        return [h("div.card", {}, h("p.kicker", {}, state.reader), h("h1", {}, "All images are done"),
          h("dl.figures", {},
            h("div", {}, h("dt", {}, "accepted"), h("dd", {}, String(accepted))),
            h("div", {}, h("dt", {}, "skipped"), h("dd", {}, String(state.skipped))),
            h("div", {}, h("dt", {}, "time looking"), h("dd", {}, clock(state.seconds))),
            h("div", {}, h("dt", {}, "per image"), h("dd", {}, accepted ? `${(state.seconds / accepted).toFixed(1)} s` : "–"))),
          h("p.soft", {}, "You can close this window. The gaze lies in the data set, ready for ", h("code", {}, "gazeseg masks"), "."),
          more(do_.k ? key("K", "See skipped images again", do_.k) : null, do_.u ? key("U", "Undo last", do_.u) : null))];
      }
      default:
        return [];
    }
  }

  private accuracy(state: State): Node | null {
    const found = state.validation;
    if (!found) return null;
    const degrees = found.error_deg === null ? "" : ` · ${found.error_deg.toFixed(2)}°`;
    const unit = state.measured ? "" : " (degrees need the size of the display)";
    return h(found.poor ? "p.poor" : "p.soft", {}, `Accuracy: ${found.error_px.toFixed(0)} px${degrees}${unit}, worst ${found.worst_px.toFixed(0)} px, ` +
      `${Math.round(found.lost * 100)} % lost${state.calibrated ? ", calibrated" : ""}` +
      (found.poor ? ". Worse than it should be: calibrate, sit still, and check again" : ""));
  }

  private helpCard(state: State): Node {
    const rows: [string, string][] = [
      ["Space", "next step: show, found it, finished"],
      ["Enter", "accept"],
      ["R", "redo the image from its beginning"],
      ["S", "skip the image"],
      ["U", "undo the last image"],
      ["P", "pause"],
      ["+ − 0", "zoom in, out, fit; or the mouse wheel"],
      ["← ↑ → ↓", "move the image"],
      ["[ ]", "narrower, wider window (contrast)"],
      [", .", "darker, brighter level; \\ resets"],
      ["H M G", "heatmap, mask, gaze after an image"],
      ["V", "check accuracy on nine points"],
      ...(state.source === "mouse" ? [] : [["C", "calibrate on nine points"] as [string, string]]),
      ["F", "full screen"],
      ["?", "close this list"],
    ];
    return h("div.card.help", {}, h("h1", {}, "Keys"), h("table", {},
      ...rows.map(([cap, does]) => h("tr", {}, h("td", {}, ...cap.split(" ").map((one) => h("kbd", {}, one))), h("td", {}, does)))));
  }
}
