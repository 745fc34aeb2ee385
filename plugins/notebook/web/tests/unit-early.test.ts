//! The WebSocket that is opened while the main script is loaded.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connectEarly, documentAddress, webSocket } from "../src/transport/early";

/** A browser's WebSocket without a network. */
class Line {
  static made: Line[] = [];
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  closed = false;
  readonly target: URL;
  constructor(target: URL) {
    this.target = target;
    Line.made.push(this);
  }
  close(): void {
    this.closed = true;
  }
}

Object.assign(globalThis, {
  WebSocket: Line,
  location: { href: "http://server/prefix/notebooks/a%20b.ipynb" },
  document: { baseURI: "http://server/prefix/notebooks/a%20b.ipynb", documentElement: { dataset: { base: "/prefix/" } } },
});

test("what came before the page was there is delivered once, and no second connection is made", async () => {
  connectEarly();
  const [line] = Line.made;
  assert.equal(line?.target.href, "ws://server/prefix/api/documents/a%20b.ipynb");
  line.onmessage?.({ data: "first" });
  line.onmessage?.({ data: "second" });
  const socket = webSocket(documentAddress("a b.ipynb"));
  const received: string[] = [];
  socket.onmessage = (text) => received.push(text);
  line.onmessage?.({ data: "third" });
  await Promise.resolve();
  assert.deepEqual(received, ["first", "second", "third"]);
  assert.equal(Line.made.length, 1);
  // The small script may come after the main one: then it does nothing.
  connectEarly();
  assert.equal(Line.made.length, 1);
  // The next connection is a new one.
  webSocket(documentAddress("a b.ipynb"));
  assert.equal(Line.made.length, 2);
});
