// The pixels of one image, and window and level: which stored values are black and white.

export interface About {
  width: number;
  height: number;
  depth: 8 | 16;
  low: number;
  high: number;
}

export class Picture {
  readonly canvas: HTMLCanvasElement;
  low: number;
  high: number;
  private readonly ink: CanvasRenderingContext2D;
  private readonly out: ImageData;

  private constructor(
    readonly about: About,
    private readonly stored: Uint8ClampedArray | Uint16Array,
  ) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = about.width;
    this.canvas.height = about.height;
    this.ink = this.canvas.getContext("2d")!;
    this.out = this.ink.createImageData(about.width, about.height);
    this.low = about.low;
    this.high = about.high;
    this.render();
  }

  static async load(url: string, about: About): Promise<Picture> {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`image: ${answer.status}`);
    if (about.depth === 16) return new Picture(about, new Uint16Array(await answer.arrayBuffer()));
    const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" });
    const canvas = document.createElement("canvas");
    canvas.width = about.width;
    canvas.height = about.height;
    const ink = canvas.getContext("2d", { willReadFrequently: true })!;
    ink.drawImage(bitmap, 0, 0);
    bitmap.close();
    return new Picture(about, ink.getImageData(0, 0, about.width, about.height).data);
  }

  /** Change width and level by shares of the window that the image came with. */
  window(wider: number, brighter: number): void {
    const step = this.about.high - this.about.low;
    const half = Math.max((this.high - this.low) / 2 + (wider * step) / 2, step / 100);
    const centre = (this.low + this.high) / 2 - brighter * step;
    this.low = centre - half;
    this.high = centre + half;
    this.render();
  }

  reset(): void {
    this.low = this.about.low;
    this.high = this.about.high;
    this.render();
  }

  private render(): void {
    const table = new Uint8ClampedArray(this.about.depth === 16 ? 65536 : 256);
    const scale = 255 / (this.high - this.low);
    for (let value = 0; value < table.length; value++) table[value] = (value - this.low) * scale;
    const { stored } = this;
    const out = this.out.data;
    if (this.about.depth === 16) {
      for (let pixel = 0; pixel < stored.length; pixel++) {
        const grey = table[stored[pixel]];
        out[4 * pixel] = out[4 * pixel + 1] = out[4 * pixel + 2] = grey;
        out[4 * pixel + 3] = 255;
      }
    } else {
      for (let at = 0; at < stored.length; at += 4) {
        out[at] = table[stored[at]];
        out[at + 1] = table[stored[at + 1]];
        out[at + 2] = table[stored[at + 2]];
        out[at + 3] = 255;
      }
    }
    this.ink.putImageData(this.out, 0, 0);
  }
}
