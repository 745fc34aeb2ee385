//! A connection between a browser and the server that the test can cut, delay and silence: the browser uses the port of the line.

import { connect, createServer, type Server as Listener, type Socket } from "node:net";

/** How slow a line is. */
export interface Slowness {
  /** For each direction. */
  delayMs: number;
  /** How much later this part of the data arrives, with everything behind it. On TCP, a lost packet has this effect. */
  stallMs: () => number;
}

export class Line {
  #sockets = new Set<Socket>();
  /** Sockets whose data no longer arrives. */
  #silent = new WeakSet<Socket>();
  #isSilent = false;
  #isDown = false;
  #listener: Listener;
  cuts = 0;
  stalls = 0;

  private constructor(listener: Listener) {
    this.#listener = listener;
  }

  static async open(to: URL, slowness: Slowness | null = null): Promise<Line> {
    const listener = createServer({ allowHalfOpen: true });
    const line = new Line(listener);
    listener.on("connection", (near) => {
      if (line.#isDown) {
        near.destroy();
        return;
      }
      // One direction may end before the other.
      const far = connect({ port: Number(to.port), host: to.hostname, allowHalfOpen: true });
      if (line.#isSilent) for (const socket of [near, far]) line.#silent.add(socket);
      for (const [one, other] of [[near, far], [far, near]] as const) {
        line.#sockets.add(one);
        one.on("close", () => line.#sockets.delete(one));
        line.#forward(one, other, slowness);
      }
    });
    await new Promise<void>((ready) => listener.listen(0, "127.0.0.1", ready));
    return line;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#listener.address() as { port: number }).port}/`;
  }

  /** Ends all connections at once. What is under way is lost. */
  cut(): void {
    this.cuts += 1;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Cuts it, and refuses new connections until it is up again. */
  down(): void {
    this.#isDown = true;
    this.cut();
  }

  up(): void {
    this.#isDown = false;
  }

  /** From now on, nothing arrives, and no side learns of it: neither by data nor by the end of a connection. */
  silence(): void {
    this.#isSilent = true;
    for (const socket of this.#sockets) this.#silent.add(socket);
  }

  /** New connections work again. The old ones stay silent. */
  wake(): void {
    this.#isSilent = false;
  }

  /** The server closes the silent connections. The browser does not learn of it. */
  forget(): void {
    for (const socket of this.#sockets) if (this.#silent.has(socket) && socket.localPort !== this.#port) socket.destroy();
  }

  close(): void {
    this.#listener.close();
    for (const socket of this.#sockets) this.#silent.delete(socket);
    this.cut();
  }

  get #port(): number {
    return (this.#listener.address() as { port: number }).port;
  }

  /** Passes on what comes from one socket, in order, and its end. */
  #forward(from: Socket, to: Socket, slowness: Slowness | null): void {
    const waiting: { at: number; act: () => void }[] = [];
    const deliver = (): void => {
      const now = performance.now();
      while (waiting[0] !== undefined && waiting[0].at <= now) waiting.shift()?.act();
      if (waiting[0] !== undefined) setTimeout(deliver, waiting[0].at - now);
    };
    const later = (act: () => void): void => {
      const unlessSilent = (): void => {
        if (!this.#silent.has(from) && !to.destroyed) act();
      };
      if (slowness === null) return unlessSilent();
      const stall = slowness.stallMs();
      if (stall > 0) this.stalls += 1;
      waiting.push({ at: Math.max(waiting.at(-1)?.at ?? 0, performance.now() + slowness.delayMs + stall), act: unlessSilent });
      if (waiting.length === 1) setTimeout(deliver, slowness.delayMs + stall);
    };
    from.on("data", (data) => later(() => to.write(data)));
    from.on("end", () => later(() => to.end()));
    from.on("close", () => later(() => to.destroy()));
    from.on("error", () => undefined);
  }
}
