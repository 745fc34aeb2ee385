//! Who else has the document open, and where they type.

import type { Cursor } from "../protocol";

/** The page of another user. */
export interface Person {
  name: string;
  cursor: Cursor | null;
}

/** The time that a cursor must rest before others see it, in milliseconds. */
const WAIT = 150;

export class People {
  readonly others = new Map<number, Person>();
  #cursor: Cursor | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;

  private readonly send: (cursor: Cursor | null) => void;
  private readonly changed: () => void;

  constructor(send: (cursor: Cursor | null) => void, changed: () => void) {
    this.send = send;
    this.changed = changed;
  }

  present(client: number, person: Person): void {
    const isNew = !this.others.has(client);
    this.others.set(client, person);
    if (isNew && this.#cursor !== null) this.#tell();
    this.changed();
  }

  absent(client: number): void {
    if (this.others.delete(client)) this.changed();
  }

  /** Handles a new connection, after which the server sends all other users again. */
  clear(): void {
    this.others.clear();
    this.changed();
  }

  /** The user's own cursor moved. */
  move(cursor: Cursor | null): void {
    this.#cursor = cursor;
    if (this.others.size > 0) this.#tell();
  }

  #tell(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.send(this.#cursor);
    }, WAIT);
  }
}

/** A number from 0 to 5 for the color of a user. */
export function color(name: string): number {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 9973;
  return sum % 6;
}
