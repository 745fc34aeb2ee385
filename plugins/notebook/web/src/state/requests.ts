//! Requests to the server, and messages to the user if one fails.

import type { Operation, Reply } from "../protocol";
import type { Connection } from "../transport/connection";

export class Requests {
  /** The ids of the requests that this page has sent. */
  readonly own = new Set<number>();
  private readonly connection: () => Connection;
  private readonly report: (message: string) => void;

  constructor(connection: () => Connection, report: (message: string) => void) {
    this.connection = connection;
    this.report = report;
  }

  /** Sends a request. Throws what the connection throws. */
  ask(op: Operation, repeatable: boolean): Promise<Reply> {
    return this.connection().request(op, { repeatable, sent: (id) => this.own.add(id) });
  }

  /** Sends a request, and informs the user if it failed. */
  async do(op: Operation, repeatable: boolean, what: string): Promise<boolean> {
    try {
      await this.ask(op, repeatable);
      return true;
    } catch (error) {
      this.fail(error, what);
      return false;
    }
  }

  /** Sends a request whose reply is not essential. */
  async look(op: Operation): Promise<Reply | null> {
    if (!this.connection().online) return null;
    try {
      return await this.ask(op, false);
    } catch {
      return null;
    }
  }

  /** Informs the user that something failed. */
  fail(error: unknown, what: string): void {
    this.report(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
