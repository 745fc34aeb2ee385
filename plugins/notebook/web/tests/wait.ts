//! Waiting in tests: for a condition, with a limit and a message.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";

/** The longest wait for anything. It only ends a test that would never end. A busy machine may need more than the 30 s. */
export const PATIENCE_MS = Number(process.env["PASTER_TEST_PATIENCE_SECS"] ?? 30) * 1000;

/** Waits until `holds` is true. Fails with `what` if it never is. */
export async function waitFor(what: string | (() => string), holds: () => boolean | Promise<boolean>): Promise<void> {
  const until = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > until) assert.fail(`waited ${PATIENCE_MS / 1000} s for this: ${typeof what === "string" ? what : what()}`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

/** Asserts about what a page shows. A page may need a moment, so each reads again until it holds or the time is over. */
export const eventually = {
  /** What `read` gives becomes equal to `expected`. */
  async equal<T>(read: () => Promise<T>, expected: NoInfer<T>, message?: string): Promise<void> {
    const last = await poll(read, (value) => isDeepStrictEqual(value, expected));
    assert.deepEqual(last, expected, message);
  },
  /** What `read` gives comes to match `pattern`. */
  async match(read: () => Promise<string | null>, pattern: RegExp, message?: string): Promise<void> {
    const last = await poll(read, (value) => pattern.test(value ?? ""));
    assert.match(last ?? "", pattern, message);
  },
};

/** The first value for which `holds` is true, or the last one within the time. */
async function poll<T>(read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await read();
    if (holds(value) || Date.now() > until) return value;
    await new Promise((next) => setTimeout(next, 20));
  }
}
