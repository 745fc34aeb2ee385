//! Several people in one cell: whatever the order, the delays and the lost connections, all end with the same text, and nothing
//! that somebody typed and nobody deleted is missing.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { ChangeSet } from "@codemirror/state";
import type { Request, ServerFrame } from "../src/protocol";
import { changes, diff, rebase } from "../src/state/rebase";
import { Session } from "../src/state/session";
import { Connection } from "../src/transport/connection";
import type { Socket } from "../src/transport/early";
import { cell, notebook } from "./fake";
import { random } from "./random";

/** What the server does with one cell, as `Model::set_source`, `Pages` and `Log` do. */
class Server {
  source = "";
  revision = 1;
  readonly events: { source: string; revision: number; changes: unknown }[] = [];
  readonly clients: Client[] = [];

  receive(from: Client, { id, op }: Request): void {
    assert.equal(op.type, "set_source");
    if (op.type !== "set_source") return;
    if (op.source === this.source) {
      from.deliver({ type: "reply", id, reply: { type: "edited", revision: this.revision } });
    } else if (op.base_revision !== this.revision) {
      from.deliver({ type: "reply", id, reply: { type: "stale", source: this.source, revision: this.revision } });
    } else {
      this.source = op.source;
      this.revision += 1;
      this.events.push({ source: this.source, revision: this.revision, changes: op.changes });
      for (const client of this.clients) client.deliver(this.event(this.events.length, client === from ? id : null));
      from.deliver({ type: "reply", id, reply: { type: "edited", revision: this.revision } });
    }
  }

  event(number: number, request: number | null): ServerFrame {
    const event = this.events[number - 1];
    assert.ok(event);
    return { type: "changed", event: number, author: "x", request, change: { type: "source_changed", cell_id: "c", ...event } };
  }
}

/** A page whose frames wait in both directions until the test lets them through. */
class Client {
  readonly session: Session;
  #in: ServerFrame[] = [];
  #out: Request[] = [];
  #socket: Socket | null = null;
  private readonly server: Server;

  constructor(server: Server) {
    this.server = server;
    this.session = new Session("a.ipynb", {
      connection: (listener) => new Connection((resume) => this.#connect(resume), listener, async () => "", { first: 5, longest: 5 }),
      take: () => [],
      store: () => undefined,
      report: (message) => assert.fail(message),
      newId: () => "new",
    });
    this.session.start();
  }

  #connect(resume: { instance: string; after: number } | null): Socket {
    const socket: Socket = { onmessage: null, onclose: null, send: (text) => void this.#out.push(JSON.parse(text) as Request), close: () => undefined };
    this.#socket = socket;
    this.#out = [];
    const last = this.server.events.length;
    this.#in = resume === null
      ? [{ type: "opened", level: "edit", instance: "i", event: last, document: notebook([cell("c", { source: this.server.source, revision: this.server.revision })]) }]
      : [{ type: "resumed", instance: "i", event: resume.after, last }, ...Array.from({ length: last - resume.after }, (_, n) => this.server.event(resume.after + n + 1, null))];
    return socket;
  }

  deliver(frame: ServerFrame): void {
    this.#in.push(frame);
  }

  get text(): string {
    return this.session.notebook.cell("c")?.source ?? "";
  }

  /** Lets one frame through. Returns whether there was one. */
  step(out: boolean): boolean {
    if (out) {
      const request = this.#out.shift();
      if (request !== undefined) this.server.receive(this, request);
      return request !== undefined;
    }
    const frame = this.#in.shift();
    if (frame !== undefined) this.#socket?.onmessage?.(JSON.stringify(frame));
    return frame !== undefined;
  }

  cut(): void {
    this.#in = [];
    this.#out = [];
    this.#socket?.onclose?.();
  }
}

/** Lets promises run, as a browser does after each frame. */
async function settled(): Promise<void> {
  for (let n = 0; n < 5; n++) await Promise.resolve();
}

/** Lets promises and due timers run. */
async function turn(ms: number): Promise<void> {
  await settled();
  mock.timers.tick(ms);
  await settled();
}

async function live(seed: number, people: number, edits: number): Promise<void> {
  const below = random(seed);
  const server = new Server();
  const clients = Array.from({ length: people }, () => new Client(server));
  server.clients.push(...clients);
  const typed: string[] = [];
  for (const client of clients) client.step(false);
  for (let n = 0; n < edits; ) {
    const client = clients[below(people)];
    assert.ok(client);
    const what = below(100);
    if (what < 40) {
      const word = `<${n}>`;
      const { text } = client;
      // Between the words of others, not within one.
      const places = [0, ...[...text.matchAll(/>/g)].map((found) => found.index + 1)];
      const at = places[below(places.length)] ?? 0;
      const insert = word + (below(4) === 0 ? "\n" : "");
      client.session.edit("c", text.slice(0, at) + insert + text.slice(at), ChangeSet.of({ from: at, insert }, text.length));
      typed.push(word);
      n += 1;
    } else if (what < 42) client.cut();
    else if (what < 60) await turn(below(400));
    else {
      client.step(below(2) === 0);
      await settled();
    }
  }
  for (let quiet = 0; quiet < 3; ) {
    await turn(400);
    quiet += 1;
    for (const client of clients) {
      while (client.step(true) || client.step(false)) {
        quiet = 0;
        await settled();
      }
    }
  }
  for (const client of clients) {
    assert.equal(client.session.unsent, false, `seed ${seed}`);
    assert.equal(client.text, server.source, `seed ${seed}`);
  }
  for (const word of typed) assert.equal(server.source.split(word).length, 2, `seed ${seed}: ${word} is there once`);
}

test("two and five people type in one cell over connections that delay and break: equal texts, and every word once", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    for (let seed = 1; seed <= 100; seed++) await live(seed, seed % 2 === 0 ? 2 : 5, 100);
  } finally {
    mock.timers.reset();
  }
});

test("a difference is applied as it was found, and both sides of a merge are kept", () => {
  const below = random(7);
  const text = (): string => Array.from({ length: below(12) }, () => "ab\n"[below(3)]).join("");
  for (let n = 0; n < 5000; n++) {
    const [one, other] = [text(), text()];
    let result = one;
    for (const { from, to, insert } of diff(one, other).reverse()) result = result.slice(0, from) + insert + result.slice(to);
    assert.equal(result, other);
    assert.equal(rebase(one, changes(one, other), one).text, other);
    assert.equal(rebase(one, changes(one, one), other).text, other);
  }
  const merge = (base: string, mine: string, theirs: string) => {
    const { text, clash } = rebase(base, changes(base, mine), theirs);
    return clash ? null : text;
  };
  assert.equal(merge("a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n"), "A\nb\nC\n");
  assert.equal(merge("x", "xmine", "xtheirs"), "xtheirsmine");
  assert.equal(merge("one two", "two", "one two three"), "two three");
  assert.equal(merge("one", "mine", "theirs"), null);
  // Enter at the same place, which replaces the space: once with a word before it.
  const enter = (insert: string) => ChangeSet.of({ from: 1, to: 2, insert }, 3);
  const both = rebase("a b", enter(" x\n "), "a\nb", enter("\n").toJSON());
  assert.deepEqual([both.text, both.clash], ["a\n x\n b", false]);
});
