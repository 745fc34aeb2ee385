//! When a page gives up a connection that says nothing.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Heartbeat } from "../src/transport/heartbeat";

const TIMES = { opening: 600, quiet: 150, answer: 100, suspicious: 40, longest: 1000 };

/** A connection with a clock that the test moves, and what happened to it. */
function world(context: TestContext) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  let asked = 0;
  let lost = 0;
  const heartbeat = new Heartbeat(() => (asked += 1), () => (lost += 1), TIMES, () => now);
  heartbeat.start();
  return {
    heartbeat,
    /** Time passes, and timers fire in time. */
    pass(ms: number) {
      for (let n = 0; n < ms; n += 1) {
        now += 1;
        context.mock.timers.tick(1);
      }
    },
    /** The computer sleeps: timers fire afterwards, or go on with what was left of them. */
    sleep(ms: number, fired: boolean) {
      now += ms;
      if (fired) context.mock.timers.tick(ms);
    },
    answer() {
      heartbeat.heard();
      heartbeat.answered();
    },
    counts: () => [asked, lost],
  };
}

test("a connection that answers is kept, and is only asked when it is quiet", (context) => {
  const { heartbeat, pass, answer, counts } = world(context);
  pass(599);
  heartbeat.heard();
  pass(149);
  heartbeat.heard();
  pass(149);
  assert.deepEqual(counts(), [0, 0]);
  pass(1);
  assert.deepEqual(counts(), [1, 0]);
  pass(99);
  answer();
  pass(149);
  assert.deepEqual(counts(), [1, 0]);
  for (let n = 0; n < 10; n += 1) {
    answer();
    pass(150);
  }
  assert.deepEqual(counts(), [11, 0]);
});

test("without an answer it is given up, and after each failure the answer has twice as long", (context) => {
  const { heartbeat, pass, answer, counts } = world(context);
  let lost = 0;
  for (const patience of [100, 200, 400, 800, 1000, 1000]) {
    heartbeat.heard();
    pass(150 + patience - 1);
    assert.equal(counts()[1], lost, `${patience}`);
    pass(1);
    assert.equal(counts()[1], ++lost, `${patience}`);
    pass(2000);
    assert.equal(counts()[1], lost, "once");
    heartbeat.start();
  }
  heartbeat.heard();
  pass(150);
  answer();
  pass(150 + 100);
  assert.equal(counts()[1], lost + 1, "an answer makes the time short again");
});

test("a connection that is never made is given up", (context) => {
  const { heartbeat, pass, counts } = world(context);
  pass(599);
  assert.deepEqual(counts(), [0, 0]);
  pass(1);
  assert.deepEqual(counts(), [0, 1]);
  heartbeat.start();
  pass(1000);
  assert.deepEqual(counts(), [0, 2], "the longest time");
  heartbeat.start();
  heartbeat.check();
  pass(100);
  assert.deepEqual(counts(), [0, 3], "a check does not wait so long");
});

test("a check asks at once, and several of them do not delay the end", (context) => {
  const { heartbeat, pass, answer, counts } = world(context);
  heartbeat.heard();
  heartbeat.check();
  assert.deepEqual(counts(), [1, 0]);
  pass(39);
  heartbeat.check();
  pass(1);
  assert.deepEqual(counts(), [2, 1]);
  heartbeat.check();
  pass(1000);
  assert.deepEqual(counts(), [2, 1], "nothing to check");
  heartbeat.start();
  heartbeat.heard();
  heartbeat.check();
  pass(39);
  answer();
  pass(100);
  assert.deepEqual(counts(), [3, 1]);
});

test("after a sleep the answer gets its time, whether timers fired late or went on", (context) => {
  const { heartbeat, pass, sleep, answer, counts } = world(context);
  heartbeat.heard();
  sleep(3_600_000, true);
  assert.deepEqual(counts(), [1, 0]);
  pass(39);
  answer();
  pass(150);
  assert.deepEqual(counts(), [2, 0]);
  // It slept while an answer was due.
  sleep(3_600_000, true);
  assert.deepEqual(counts(), [3, 0], "asked again");
  pass(40);
  assert.deepEqual(counts(), [3, 1], "and no answer");
  heartbeat.start();
  heartbeat.heard();
  sleep(-3_600_000, false);
  pass(150);
  assert.equal(counts()[0], 4, "the clock was set back");
});
