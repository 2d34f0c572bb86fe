// Nine points, one after another: calibration fits to them, validation measures on them.

import { h } from "./dom";
import type { Pointer } from "./pointer";

export type Purpose = "calibration" | "validation";

export interface TargetShown {
  x: number;
  y: number;
  from_ms: number;
  to_ms: number;
}

const GRID = [0.1, 0.5, 0.9].flatMap((y) => [0.1, 0.5, 0.9].map((x) => [x, y]));
const SETTLE_MS = 800; // the eye needs 200 ms to start and as much to land; the ring shrinks meanwhile
const LOOK_MS = 1000;
const DELAY_MS = 250; // a device may be so late

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Show the points in a drawn order; false where the reader pressed Escape. */
export async function runTargets(
  place: HTMLElement,
  purpose: Purpose,
  pointer: Pointer,
  mouse: boolean,
  report: (shown: TargetShown) => void,
): Promise<boolean> {
  let stopped = false;
  const escape = (event: KeyboardEvent) => (stopped ||= event.key === "Escape");
  window.addEventListener("keydown", escape);
  const title = purpose === "calibration" ? "Calibration" : "Accuracy check";
  const how = mouse ? "Move the pointer into each ring and rest there." : "Look at the dot in each ring until it moves on.";
  place.replaceChildren(h("div.card.small", {}, h("h1", {}, title), h("p", {}, how), h("p.soft", {}, "Escape stops.")));
  await pause(2000);
  const dot = h("div.target", {}, h("i"));
  place.replaceChildren(dot);
  if (mouse) pointer.start();
  const order = [...GRID];
  for (let k = order.length - 1; k > 0; k--) {
    const other = Math.floor(Math.random() * (k + 1)); // a known order would be run ahead of
    [order[k], order[other]] = [order[other], order[k]];
  }
  for (const [u, v] of order) {
    if (stopped) break;
    const [x, y] = [Math.round(u * window.innerWidth), Math.round(v * window.innerHeight)];
    dot.style.left = `${x}px`;
    dot.style.top = `${y}px`;
    dot.classList.remove("settled");
    void dot.offsetWidth; // starts the animation anew
    dot.classList.add("settled");
    await pause(SETTLE_MS);
    const from_ms = performance.now();
    await pause(LOOK_MS);
    const to_ms = performance.now();
    await pause(mouse ? 120 : DELAY_MS);
    pointer.flush();
    report({ x, y, from_ms, to_ms });
  }
  pointer.stop();
  window.removeEventListener("keydown", escape);
  place.replaceChildren();
  return !stopped;
}
