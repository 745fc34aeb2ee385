//! A session of an app: the kernel that the server runs for this page's reader.

import type { Document } from "../protocol";
import { Connection, type Listener, Refused } from "../transport/connection";
import type { Socket } from "../transport/early";
import { Comms } from "./comms";
import { Notebook } from "./notebook";

/** What happens to a session. */
export interface LiveEvents {
  /** The cells have run, and the controls can be used. */
  opened(): void;
  /** It ended, or could not be started: why, for the reader. */
  ended(message: string): void;
  /** The server has refused a change. */
  refused(message: string): void;
}

export class LiveApp {
  readonly notebook = new Notebook("");
  readonly comms: Comms;
  readonly #connection: Connection;
  #isOver = false;
  private readonly events: LiveEvents;

  /** `connect` opens the socket of the session. Another session has other widgets, so it is never resumed. */
  constructor(connect: () => Socket, events: LiveEvents) {
    this.events = events;
    this.#connection = new Connection(connect, this.#listener());
    this.comms = new Comms({
      load: async () => {
        const reply = await this.#connection.request({ type: "open_comms" }).catch(() => null);
        return reply?.type === "comms" ? reply.comms : null;
      },
      send: async (message) => {
        await this.#connection.request({ type: "send_comm", message }).catch((error: unknown) => {
          if (error instanceof Refused) this.events.refused(error.message);
        });
      },
    });
  }

  start(): void {
    this.#connection.start();
  }

  /** Ends the session. */
  stop(): void {
    this.#isOver = true;
    this.#connection.stop();
  }

  #listener(): Listener {
    return {
      opened: (document: Document) => {
        this.notebook.load(document);
        // This reader's kernel made the outputs.
        for (const cell of document.cells) this.notebook.fresh.add(cell.id);
        this.events.opened();
      },
      changed: (change) => {
        if (change.type === "comm_sent") this.comms.apply(change.message);
        else if (change.type !== "source_changed" && change.type !== "debug_event") this.notebook.apply(change);
      },
      link: (link, message) => {
        if (link !== "offline" || this.#isOver) return;
        this.#isOver = true;
        // After the connection has planned its next attempt.
        queueMicrotask(() => this.#connection.stop());
        this.events.ended(message === "" ? "The connection was lost." : message);
      },
      resumed: () => {},
      present: () => {},
      absent: () => {},
      commented: () => {},
    };
  }
}
