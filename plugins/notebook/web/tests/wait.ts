//! Waiting in tests: for a condition, with a limit and a message.

import assert from "node:assert/strict";

/** Generous, as a loaded machine is slow; it only ends a test that would never end. */
const LIMIT_MS = 60_000;

/** Waits until `holds` is true; fails with `what` when it never is. */
export async function waitFor(what: string | (() => string), holds: () => boolean | Promise<boolean>): Promise<void> {
  const until = Date.now() + LIMIT_MS;
  while (!(await holds())) {
    if (Date.now() > until) assert.fail(`waited ${LIMIT_MS / 1000} s for this: ${typeof what === "string" ? what : what()}`);
    await new Promise((next) => setTimeout(next, 20));
  }
}
