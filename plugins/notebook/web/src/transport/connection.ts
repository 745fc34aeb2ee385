//! The WebSocket of one document: connects, resumes after a lost connection, pairs requests with replies.
//!
//! Requests wait while there is no connection. For requests that were sent but not answered when the connection was lost, the
//! sender decides whether they may be sent twice (`repeatable`).

import type { Socket } from "./early";
import { Heartbeat, type HeartbeatTimes } from "./heartbeat";
import type { Change, Cursor, Document, Level, Operation, Reply, Request, ServerFrame } from "../protocol";

/** The state of the connection. */
export type Link = "connecting" | "online" | "offline";

/** The events that the connection reports to its owner. */
export interface Listener {
  /** A whole document: the first, or a new one if the old one could not be resumed. */
  opened(document: Document, instance: string, event: number, level: Level): void;
  /** The connection is back where it was. The missed changes follow, up to number `last`. */
  resumed(last: number): void;
  /** Change number `event`; `own` is the request that made it, if it is one of ours. */
  changed(change: Change, own: number | null, event: number): void;
  /** Another user has the document open, or moved their cursor. */
  present(client: number, name: string, cursor: Cursor | null): void;
  /** They left. */
  absent(client: number): void;
  /** The comments have changed. */
  commented(): void;
  /** The state of the connection, the reason for users, and the status with which the document was refused. */
  link(link: Link, message: string, status: number | null): void;
}

/** A request that the server refused. */
export class Refused extends Error {
  override readonly name = "Refused";
}

/** A request that was sent, but whose reply was lost with the connection. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

/** How to send a request. */
export interface Sending {
  /** Send it again after a lost connection, because repeating it does no harm. */
  repeatable: boolean;
  /** Receives the number that the request is sent with. */
  sent?: (id: number) => void;
}

interface Waiting extends Sending {
  id: number;
  op: Operation;
  isSent: boolean;
  resolve: (reply: Reply) => void;
  reject: (error: Error) => void;
}

/** Times in milliseconds; tests make them short. */
export interface Backoff {
  first: number;
  longest: number;
}

export class Connection {
  #socket: Socket | null = null;
  #open = false;
  #instance: string | null = null;
  #event = 0;
  #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #tries = 0;
  /** Why the last attempt failed, for users. */
  #reason = "";
  #timer: ReturnType<typeof setTimeout> | null = null;
  #stopped = false;
  readonly #heartbeat: Heartbeat;
  /** The request of the last ping. */
  #ping: number | null = null;

  private readonly connect: (resume: { instance: string; after: number } | null) => Socket;
  private readonly listener: Listener;
  private readonly diagnose: (tries: number) => Promise<string>;
  private readonly backoff: Backoff;

  /**
   * `connect` opens a socket; its argument is what to resume from, or null for a snapshot. `diagnose` explains to users why
   * there is no connection after so many attempts, or returns "" if the server does not respond at all.
   */
  constructor(
    connect: (resume: { instance: string; after: number } | null) => Socket,
    listener: Listener,
    diagnose: (tries: number) => Promise<string> = async () => "",
    backoff: Backoff = { first: 200, longest: 5000 },
    heartbeat?: HeartbeatTimes,
  ) {
    this.connect = connect;
    this.listener = listener;
    this.diagnose = diagnose;
    this.backoff = backoff;
    this.#heartbeat = new Heartbeat(() => this.#sendPing(), () => this.#lost(), heartbeat);
  }

  /** Connects at once, or checks whether the connection still works: the computer may have slept, or its network may have changed. */
  check(): void {
    if (this.#socket === null) this.start();
    else this.#heartbeat.check();
  }

  /** Connects, or reconnects at once. */
  start(): void {
    this.#stopped = false;
    if (this.#socket !== null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    // During repeated attempts, the reason of the last failure stays.
    if (this.#tries === 0) this.listener.link("connecting", "", null);
    const resume = this.#instance === null ? null : { instance: this.#instance, after: this.#event };
    const socket = this.connect(resume);
    this.#socket = socket;
    this.#heartbeat.start();
    socket.onmessage = (text) => {
      if (this.#socket !== socket) return;
      this.#heartbeat.heard();
      this.#receive(JSON.parse(text) as ServerFrame);
    };
    socket.onclose = () => {
      if (this.#socket === socket) this.#lost();
    };
  }

  /** Closes for good. */
  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#heartbeat.stop();
    this.#socket?.close();
    this.#socket = null;
    this.#open = false;
  }

  get online(): boolean {
    return this.#open;
  }

  /** How many requests wait for a reply. */
  get pending(): number {
    return this.#waiting.size;
  }

  /** Sends a request, now or when there is a connection. Rejects with `Refused`, or with `ConnectionLost` if it may not be repeated. */
  request(op: Operation, sending: Sending = { repeatable: false }): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { ...sending, id: this.#nextId++, op, isSent: false, resolve, reject };
      this.#waiting.set(waiting.id, waiting);
      if (this.#open) this.#send(waiting);
    });
  }

  #send(waiting: Waiting): void {
    waiting.isSent = true;
    waiting.sent?.(waiting.id);
    const frame: Request = { id: waiting.id, op: waiting.op };
    this.#socket?.send(JSON.stringify(frame));
  }

  #sendPing(): void {
    this.#ping = this.#nextId++;
    const frame: Request = { id: this.#ping, op: { type: "ping" } };
    this.#socket?.send(JSON.stringify(frame));
  }

  #receive(frame: ServerFrame): void {
    if ((frame.type === "reply" || frame.type === "failed") && frame.id === this.#ping) this.#heartbeat.answered();
    switch (frame.type) {
      case "opened":
        this.#instance = frame.instance;
        this.#event = frame.event;
        this.listener.opened(frame.document, frame.instance, frame.event, frame.level);
        this.#ready();
        break;
      case "resumed":
        this.listener.resumed(frame.last);
        this.#ready();
        break;
      case "changed":
        // Drops what a resume sends twice.
        if (frame.event <= this.#event) return;
        this.#event = frame.event;
        this.listener.changed(frame.change, frame.request, frame.event);
        break;
      case "reply":
        this.#take(frame.id)?.resolve(frame.reply);
        break;
      case "failed":
        if (frame.id !== null) this.#take(frame.id)?.reject(new Refused(frame.message));
        break;
      case "present":
        this.listener.present(frame.client, frame.name, frame.cursor);
        break;
      case "absent":
        this.listener.absent(frame.client);
        break;
      case "commented":
        this.listener.commented();
        break;
      case "error":
        this.#drop();
        this.#retry(frame.message, frame.code);
        break;
      case "closing":
        this.#drop();
        if (frame.again) this.start();
        else this.#retry(frame.message);
        break;
    }
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #ready(): void {
    this.#open = true;
    this.#tries = 0;
    this.#reason = "";
    this.listener.link("online", "", null);
    for (const waiting of [...this.#waiting.values()]) {
      if (!waiting.isSent) this.#send(waiting);
    }
  }

  /** Forgets the socket. Unanswered requests are queued again or fail. */
  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    this.#heartbeat.stop();
    if (socket !== null) {
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
    }
    for (const waiting of [...this.#waiting.values()]) {
      if (!waiting.isSent) continue;
      if (waiting.repeatable) {
        waiting.isSent = false;
      } else {
        this.#waiting.delete(waiting.id);
        waiting.reject(new ConnectionLost("the connection was lost before the reply came"));
      }
    }
  }

  #lost(): void {
    this.#drop();
    // The reason of the last attempt stays until it is known whether it still applies.
    this.#retry(this.#reason);
    void this.diagnose(this.#tries).then((why) => {
      if (why !== this.#reason && !this.#open && !this.#stopped) this.#tell(why);
    });
  }

  #retry(message: string, status: number | null = null): void {
    if (this.#stopped) return;
    this.#tell(message, status);
    const wait = Math.min(this.backoff.longest, this.backoff.first * 2 ** this.#tries++);
    this.#timer = setTimeout(() => this.start(), wait * (0.75 + Math.random() / 2));
  }

  #tell(reason: string, status: number | null = null): void {
    this.#reason = reason;
    this.listener.link("offline", reason, status);
  }
}
