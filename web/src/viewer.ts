// The stage: an image at a zoom and a place, sharp or blurred outside a disc, and what is drawn on it.

import type { Picture } from "./picture";

/** Where the image lies: its left and upper edge in CSS px of the page, and CSS px to one image px. */
export interface View {
  left: number;
  top: number;
  zoom: number;
}

export type Line = [number, number][];

export interface Contour {
  lines: Line[];
  colour: string;
  dash?: number[];
}

export interface Fixations {
  x_px: number[];
  y_px: number[];
  onset_ms: number[];
  duration_ms: number[];
}

export interface Overlays {
  heat?: HTMLCanvasElement;
  contours?: Contour[];
  path?: { fixations: Fixations; until_ms: number; numbers?: boolean; faint?: boolean };
}

export const COLOURS = { truth: "#2fd6a2", prediction: "#f0e442", pseudo: "#56b4e9", gaze: "#e69f00" };
const HALO = "rgba(12, 16, 20, 0.75)";
const LARGEST = 32;

export class Viewer {
  readonly canvas = document.createElement("canvas");
  view: View = { left: 0, top: 0, zoom: 1 };
  picture: Picture | null = null;
  /** Radius of the clear disc and sigma of the blur around it, CSS px; null shows the image as it is. */
  lens: { radius: number; blur: number } | null = null;
  onView: (view: View) => void = () => undefined;
  private readonly ink = this.canvas.getContext("2d", { alpha: false })!;
  private readonly sharp = document.createElement("canvas");
  private readonly blurred = document.createElement("canvas");
  private readonly disc = document.createElement("canvas");
  private stale = true;
  private dirty = true;
  private pointer: { x: number; y: number } | null = null;
  private overlays_: Overlays = {};

  constructor(private readonly margins: { top: number; right: number; bottom: number; left: number }) {
    this.canvas.className = "stage";
    window.addEventListener("resize", () => this.fit());
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 500), event.clientX, event.clientY);
    }, { passive: false });
  }

  set overlays(overlays: Overlays) {
    this.overlays_ = overlays;
    this.dirty = true;
  }

  show(picture: Picture | null): void {
    this.picture = picture;
    this.overlays = {};
    this.fit();
  }

  /** The clear disc follows the pointer. */
  point(pointer: { x: number; y: number } | null): void {
    if (this.lens && pointer !== this.pointer) this.dirty = true;
    this.pointer = pointer;
  }

  /** The whole image, as large as it fits between the bars. */
  fit(): void {
    const dots = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.sharp, this.blurred]) {
      canvas.width = Math.round(window.innerWidth * dots);
      canvas.height = Math.round(window.innerHeight * dots);
    }
    if (this.picture) {
      const { width, height } = this.picture.about;
      const { top, right, bottom, left } = this.margins;
      const [wide, tall] = [window.innerWidth - left - right, window.innerHeight - top - bottom];
      const zoom = Math.max(Math.min(wide / width, tall / height), 1e-3);
      this.move({ zoom, left: left + (wide - width * zoom) / 2, top: top + (tall - height * zoom) / 2 });
    } else this.stale = true;
  }

  zoom(factor: number, x = window.innerWidth / 2, y = window.innerHeight / 2): void {
    const { left, top, zoom } = this.view;
    const next = Math.min(Math.max(zoom * factor, 0.05), LARGEST);
    const ratio = next / zoom;
    this.move({ zoom: next, left: x - (x - left) * ratio, top: y - (y - top) * ratio });
  }

  pan(dx: number, dy: number): void {
    this.move({ ...this.view, left: this.view.left + dx, top: this.view.top + dy });
  }

  /** The pixels changed: draw them anew. */
  refresh(): void {
    this.stale = true;
  }

  /** Draw what changed since the last frame; nothing, where nothing did. */
  draw(): void {
    if (!this.stale && !this.dirty) return;
    this.dirty = false;
    const dots = window.devicePixelRatio || 1;
    const pen = this.ink;
    if (this.stale) this.prepare(dots);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    if (this.lens && this.picture) this.drawLens(pen, dots);
    else pen.drawImage(this.sharp, 0, 0);
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    if (!this.picture) return;
    const { heat, contours, path } = this.overlays_;
    if (heat) this.drawHeat(pen, heat);
    for (const contour of contours ?? []) this.drawContour(pen, contour);
    if (path) this.drawPath(pen, path);
  }

  private move(view: View): void {
    this.view = view;
    this.stale = true;
    this.onView(view);
  }

  /** Render the image at its place once; a frame then only copies. */
  private prepare(dots: number): void {
    this.stale = false;
    const { left, top, zoom } = this.view;
    for (const canvas of [this.sharp, this.blurred]) {
      const pen = canvas.getContext("2d", { alpha: false })!;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.fillStyle = "#05070a";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      if (!this.picture || (canvas === this.blurred && !this.lens)) continue;
      pen.setTransform(dots, 0, 0, dots, 0, 0);
      pen.imageSmoothingEnabled = zoom < 6; // single pixels are worth seeing
      pen.imageSmoothingQuality = "high";
      if (canvas === this.blurred) pen.filter = `blur(${this.lens!.blur * dots}px)`;
      pen.drawImage(this.picture.canvas, left, top, this.picture.about.width * zoom, this.picture.about.height * zoom);
      pen.filter = "none";
    }
  }

  private drawLens(pen: CanvasRenderingContext2D, dots: number): void {
    pen.drawImage(this.blurred, 0, 0);
    if (!this.pointer || !this.lens) return;
    const radius = Math.round(this.lens.radius * dots);
    const [x, y] = [Math.round(this.pointer.x * dots), Math.round(this.pointer.y * dots)];
    const side = 2 * radius;
    if (this.disc.width !== side) this.disc.width = this.disc.height = side;
    const ink = this.disc.getContext("2d")!;
    ink.globalCompositeOperation = "copy";
    ink.drawImage(this.sharp, x - radius, y - radius, side, side, 0, 0, side, side);
    const edge = ink.createRadialGradient(radius, radius, radius * 0.7, radius, radius, radius);
    edge.addColorStop(0, "#000");
    edge.addColorStop(1, "transparent");
    ink.globalCompositeOperation = "destination-in";
    ink.fillStyle = edge;
    ink.fillRect(0, 0, side, side);
    pen.drawImage(this.disc, x - radius, y - radius);
  }

  private drawHeat(pen: CanvasRenderingContext2D, heat: HTMLCanvasElement): void {
    const { left, top, zoom } = this.view;
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(heat, left, top, this.picture!.about.width * zoom, this.picture!.about.height * zoom);
  }

  private drawContour(pen: CanvasRenderingContext2D, contour: Contour): void {
    pen.beginPath();
    for (const line of contour.lines) {
      line.forEach(([x, y], index) => pen[index ? "lineTo" : "moveTo"](this.x(x), this.y(y)));
    }
    pen.lineJoin = "round";
    pen.setLineDash([]);
    pen.lineWidth = 4.5;
    pen.strokeStyle = HALO;
    pen.stroke();
    pen.setLineDash(contour.dash ?? []);
    pen.lineWidth = 2.25;
    pen.strokeStyle = contour.colour;
    pen.stroke();
    pen.setLineDash([]);
  }

  private drawPath(pen: CanvasRenderingContext2D, path: NonNullable<Overlays["path"]>): void {
    const { x_px, y_px, onset_ms, duration_ms } = path.fixations;
    const side = Math.min(this.picture!.about.width, this.picture!.about.height) * this.view.zoom;
    const shown = onset_ms.filter((onset) => onset <= path.until_ms).length;
    pen.lineWidth = 1.5;
    pen.strokeStyle = "rgba(230, 159, 0, 0.7)";
    pen.beginPath();
    for (let k = 0; k < shown; k++) pen[k ? "lineTo" : "moveTo"](this.x(x_px[k]), this.y(y_px[k]));
    pen.stroke();
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (let k = 0; k < shown; k++) {
      const seen = Math.min(duration_ms[k], path.until_ms - onset_ms[k]);
      const radius = Math.max(2, 0.02 * side * Math.sqrt(seen / 300)); // area follows time, as in the report
      const newest = k === shown - 1 && !path.faint;
      pen.beginPath();
      pen.arc(this.x(x_px[k]), this.y(y_px[k]), radius, 0, 7);
      pen.fillStyle = path.faint ? "rgba(230, 159, 0, 0.15)" : newest ? "rgba(230, 159, 0, 0.9)" : "rgba(230, 159, 0, 0.5)";
      pen.fill();
      pen.lineWidth = newest ? 2 : 1;
      pen.strokeStyle = newest || path.faint ? "rgba(255, 255, 255, 0.8)" : HALO;
      pen.stroke();
      if (path.numbers && radius > 8) {
        pen.fillStyle = "#fff";
        pen.fillText(String(k + 1), this.x(x_px[k]), this.y(y_px[k]));
      }
    }
  }

  // pixel centres lie at integers, so the first pixel begins at -0.5
  private x(column: number): number {
    return this.view.left + (column + 0.5) * this.view.zoom;
  }

  private y(row: number): number {
    return this.view.top + (row + 0.5) * this.view.zoom;
  }
}

const LADDER = [[13, 8, 60], [94, 18, 110], [187, 55, 84], [249, 142, 9], [252, 255, 164]];

/** Colour a grey PNG (base64), value 0 transparent; the strength grows with the value. */
export async function heatCanvas(png: string): Promise<HTMLCanvasElement> {
  const picture = new Image();
  picture.src = `data:image/png;base64,${png}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const ink = canvas.getContext("2d", { willReadFrequently: true })!;
  ink.drawImage(picture, 0, 0);
  const pixels = ink.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const value = pixels.data[at] / 255;
    const place = value * (LADDER.length - 1);
    const low = Math.min(Math.floor(place), LADDER.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[at + channel] = LADDER[low][channel] + (LADDER[low + 1][channel] - LADDER[low][channel]) * (place - low);
    }
    pixels.data[at + 3] = 185 * Math.sqrt(value);
  }
  ink.putImageData(pixels, 0, 0);
  return canvas;
}
