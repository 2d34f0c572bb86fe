// The line to the server: messages in order, and a new line when it breaks.

export interface Incoming {
  type: string;
  [key: string]: unknown;
}

export class Line {
  private socket: WebSocket | null = null;
  private closed = false;

  constructor(
    private readonly path: string,
    private readonly hello: () => object,
    private readonly receive: (message: Incoming) => void,
    private readonly status: (open: boolean) => void,
  ) {
    this.open();
  }

  send(message: object): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** For good: another window took over. */
  close(): void {
    this.closed = true;
    this.socket?.close();
  }

  private open(): void {
    const socket = new WebSocket(`ws://${location.host}${this.path}`);
    this.socket = socket;
    socket.onopen = () => {
      this.send(this.hello());
      this.status(true);
    };
    socket.onmessage = (event) => this.receive(JSON.parse(event.data as string) as Incoming);
    socket.onclose = () => {
      if (this.closed) return;
      this.status(false);
      setTimeout(() => this.open(), 1000);
    };
  }
}
