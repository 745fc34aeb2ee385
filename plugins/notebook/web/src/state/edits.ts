//! Typed text on its way to the server. Nothing typed is lost by a lost connection, a reload of the page or another writer.
//!
//! Each cell that is ahead of the server has a `Draft`: the text that the server last confirmed (`base`, with its revision) and
//! the text that was sent. If another writer comes first, the draft is rebased onto their text and sent again. Only one `set_source` per cell is sent at a time, because the next one needs the revision that it
//! returns.

import { ChangeSet } from "@codemirror/state";
import type { Reply } from "../protocol";
import { changes, rebase } from "./rebase";

/** A cell's text that the server does not have yet. */
export interface Draft {
  text: string;
  base: string;
  revision: number;
  /** The changes from `base` to `text`, as they were typed. */
  own: ChangeSet;
  /** The text that was sent. */
  sent: string | null;
  /** The changes typed after it was sent; null if another text came in between. */
  since: ChangeSet | null;
  /** Another writer's text, if both replaced the same text: the user decides. */
  theirs: string | null;
}

/** A draft in the form that is stored for the next visit. */
export interface Kept {
  id: string;
  base: string;
  text: string;
}

/** The interface of `Edits` to its owner. */
export interface Host {
  /** Sends `set_source`; repeats it after a lost connection. */
  send(id: string, source: string, revision: number, how: ChangeSet): Promise<Reply>;
  /** A cell's text changed, and not by the editor of this page. */
  show(id: string, source: string, revision: number): void;
  /** The unsent text changed: update the status line and the stored copy. */
  changed(): void;
  /** A request failed permanently. */
  failed(id: string, error: Error): void;
}

/** The changes from `before` to `after`. A comparison of the texts can mistake one of two equal words for the other. */
function exact(before: string, after: string, how: ChangeSet | undefined): ChangeSet {
  return how !== undefined && how.length === before.length && how.newLength === after.length ? how : changes(before, after);
}

export class Edits {
  readonly drafts = new Map<string, Draft>();
  #timers = new Map<string, ReturnType<typeof setTimeout>>();
  #settled = new Map<string, (() => void)[]>();

  private readonly host: Host;
  private readonly wait: number;

  constructor(host: Host, wait = 300) {
    this.host = host;
    this.wait = wait;
  }

  /** Whether anything is not sent or not confirmed. */
  get dirty(): boolean {
    return this.drafts.size > 0;
  }

  /** The user typed. `base` and `revision` are what the server last confirmed; `how` is what the editor did to the text before. */
  type(id: string, text: string, base: string, revision: number, how?: ChangeSet): void {
    const draft = this.drafts.get(id);
    if (draft === undefined) {
      if (text === base) return;
      this.drafts.set(id, { text, base, revision, own: exact(base, text, how), sent: null, since: null, theirs: null });
    } else {
      const typed = exact(draft.text, text, how);
      draft.own = draft.own.compose(typed);
      if (draft.since !== null) draft.since = draft.since.compose(typed);
      draft.text = text;
      if (draft.sent === null && draft.theirs === null && text === draft.base) this.#drop(id);
    }
    this.host.changed();
    this.#schedule(id);
  }

  /** Sends a cell's draft now. Resolves when the server has it, or when the user must decide. */
  settle(id: string): Promise<void> {
    const draft = this.drafts.get(id);
    if (draft === undefined || draft.theirs !== null) return Promise.resolve();
    this.#flush(id);
    return new Promise((resolve) => this.#settled.set(id, [...(this.#settled.get(id) ?? []), resolve]));
  }

  /** Sends all drafts now. */
  async settleAll(): Promise<void> {
    await Promise.all([...this.drafts.keys()].map((id) => this.settle(id)));
  }

  /** The server reports that a cell's text changed. Returns whether the page must show it (it is not what was typed here). */
  changed(id: string, source: string, revision: number, own: boolean, how?: unknown): boolean {
    const draft = this.drafts.get(id);
    if (draft === undefined) return !own;
    // A reply that was lost with a connection comes back as a change. Its text shows that it is ours.
    if (own || source === draft.sent || source === draft.text) {
      this.#confirm(id, draft, source, revision);
      return false;
    }
    // Another writer came first. What was sent with the old base gets `stale`, and is sent again then.
    this.#meet(id, draft, source, revision, how);
    return false;
  }

  /** After a snapshot: the server's text of a cell, or null if the cell is gone. Compares drafts with it and sends them again. */
  rebase(id: string, source: string | null, revision: number): void {
    const draft = this.drafts.get(id);
    if (draft === undefined || source === null) return;
    if (source === draft.text) {
      this.#drop(id);
    } else if (source === draft.base || source === draft.sent) {
      // What was typed is known exactly; a comparison could mistake one of two equal words for the other.
      if (source !== draft.base) draft.own = draft.since ?? changes(source, draft.text);
      draft.base = source;
      draft.revision = revision;
      this.#schedule(id);
    } else {
      this.#meet(id, draft, source, revision);
    }
    this.host.changed();
  }

  /** Another writer's text came first. The changes that were typed here are applied on top of it. If both replaced the same text, the user decides. */
  #meet(id: string, draft: Draft, source: string, revision: number, how?: unknown): void {
    const { text, own, clash } = rebase(draft.base, draft.own, source, how);
    draft.revision = revision;
    draft.since = null;
    if (clash || draft.theirs !== null) {
      draft.theirs = source;
      this.host.changed();
      this.#wake(id);
      return;
    }
    draft.base = source;
    draft.text = text;
    draft.own = own;
    this.host.show(id, text, revision);
    // A request under way still has to be answered.
    if (text === source && draft.sent === null) this.#drop(id);
    else this.#schedule(id);
    this.host.changed();
  }

  /** The user's decision between two texts. */
  decide(id: string, keep: "mine" | "theirs"): void {
    const draft = this.drafts.get(id);
    if (draft === undefined || draft.theirs === null) return;
    const { theirs, revision } = draft;
    draft.theirs = null;
    draft.base = theirs;
    draft.own = changes(theirs, draft.text);
    if (keep === "theirs") {
      this.#drop(id);
      this.host.show(id, theirs, revision);
    } else {
      this.#flush(id);
    }
    this.host.changed();
  }

  /** The cell was deleted, so there is nothing left to send. */
  forget(id: string): void {
    if (!this.drafts.has(id)) return;
    this.#drop(id);
    this.host.changed();
  }

  /** The data to store for the next visit. */
  kept(): Kept[] {
    return [...this.drafts].map(([id, { base, text }]) => ({ id, base, text }));
  }

  /** Restores a draft from an earlier visit, before `rebase`. */
  restore({ id, base, text }: Kept): void {
    if (!this.drafts.has(id)) this.drafts.set(id, { text, base, revision: 0, own: changes(base, text), sent: null, since: null, theirs: null });
  }

  #schedule(id: string): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.set(id, setTimeout(() => this.#flush(id), this.wait));
  }

  #flush(id: string): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    const draft = this.drafts.get(id);
    if (draft === undefined || draft.sent !== null || draft.theirs !== null) return;
    if (draft.text === draft.base) {
      this.#drop(id);
      this.host.changed();
      return;
    }
    const text = draft.text;
    draft.sent = text;
    draft.since = ChangeSet.empty(text.length);
    this.host.send(id, text, draft.revision, draft.own).then(
      (reply) => this.#answered(id, draft, text, reply),
      (error: unknown) => {
        draft.sent = null;
        this.host.failed(id, error instanceof Error ? error : new Error(String(error)));
        this.#wake(id);
      },
    );
  }

  #answered(id: string, draft: Draft, text: string, reply: Reply): void {
    // The reply to a request that was repeated after a lost connection, and whose text has come back as a change.
    if (this.drafts.get(id) !== draft || draft.sent !== text) return;
    if (reply.type === "stale") {
      draft.sent = null;
      if (reply.source === draft.text) {
        this.#confirm(id, draft, reply.source, reply.revision);
      } else if (reply.source === draft.base) {
        // The other text is known already, or only the revision differs (the server was restarted).
        draft.revision = reply.revision;
        this.#flush(id);
      } else {
        this.#meet(id, draft, reply.source, reply.revision);
        this.#flush(id);
      }
    } else if (reply.type === "edited") {
      this.#confirm(id, draft, text, reply.revision);
    }
  }

  #confirm(id: string, draft: Draft, source: string, revision: number): void {
    draft.own = draft.since !== null && source === draft.sent ? draft.since : changes(source, draft.text);
    draft.base = source;
    draft.revision = revision;
    draft.sent = null;
    draft.theirs = null;
    this.host.show(id, draft.text, revision);
    if (draft.text === source) this.#drop(id);
    else this.#flush(id);
    this.host.changed();
  }

  #drop(id: string): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.drafts.delete(id);
    this.#wake(id);
  }

  #wake(id: string): void {
    const waiting = this.#settled.get(id) ?? [];
    this.#settled.delete(id);
    for (const resolve of waiting) resolve();
  }
}
