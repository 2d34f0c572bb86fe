// The pointer as gaze: its place at every frame of the display, sent in batches.

type Send = (t_ms: number[], x_px: (number | null)[], y_px: (number | null)[]) => void;

const BATCH_MS = 100; // so much is lost at most when the browser dies

export class Pointer {
  place: { x: number; y: number } | null = null;
  private running = false;
  private last = -1;
  private t: number[] = [];
  private x: (number | null)[] = [];
  private y: (number | null)[] = [];

  constructor(private readonly send: Send) {
    const move = (event: PointerEvent) => (this.place = { x: event.clientX, y: event.clientY });
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerdown", move);
    document.documentElement.addEventListener("pointerleave", () => (this.place = null));
  }

  start(): void {
    if (this.running) return;
    this.running = true;
    this.clear();
    requestAnimationFrame(this.sample);
  }

  stop(): void {
    this.running = false;
    this.clear();
  }

  /** Send what is there: before a step, so that it belongs to the stage that ends. */
  flush(): void {
    if (this.t.length) this.send(this.t, this.x, this.y);
    this.clear();
  }

  private clear(): void {
    [this.t, this.x, this.y] = [[], [], []];
  }

  // a pointer that rests sends no events, so that it is asked, once a frame
  private readonly sample = () => {
    if (!this.running) return;
    const now = performance.now();
    if (now > this.last) {
      this.last = now;
      this.t.push(now);
      this.x.push(this.place?.x ?? null);
      this.y.push(this.place?.y ?? null);
    }
    if (now - this.t[0] >= BATCH_MS) this.flush();
    requestAnimationFrame(this.sample);
  };
}
