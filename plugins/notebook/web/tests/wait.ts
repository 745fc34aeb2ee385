//! Waiting in tests: for a condition, with a limit and a message.

import assert from "node:assert/strict";

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
