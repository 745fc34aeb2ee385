//! Notices that a connection has broken without being closed: the computer slept, or it is in another network now.

/** Times in milliseconds. */
export interface HeartbeatTimes {
  /** How long it may take to connect, until the first frame. */
  opening: number;
  /** The interval without a frame after which the server is asked. */
  quiet: number;
  /** How long the answer may take. */
  answer: number;
  /** The same if there is a reason to believe that the connection is broken. */
  suspicious: number;
  /** The first frame or an answer may be behind a long message on a slow line, so these times double with each failure, up to this. */
  longest: number;
}

export const HEARTBEAT: HeartbeatTimes = { opening: 60_000, quiet: 15_000, answer: 10_000, suspicious: 4000, longest: 300_000 };

/** If a timer is so late, the computer slept, or the browser delays the timers of a page in the background. */
const LATE_MS = 5000;

export class Heartbeat {
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** When the timer fires. */
  #due = 0;
  /** When the last frame came. */
  #heard = 0;
  #state: "opening" | "quiet" | "asked" | "asked again" = "quiet";
  /** How often in a row the connection was given up. */
  #failures = 0;

  private readonly ask: () => void;
  private readonly lost: () => void;
  private readonly times: HeartbeatTimes;
  private readonly now: () => number;

  /** `ask` sends something that is answered at once. `lost` is called if nothing came back in time. */
  constructor(ask: () => void, lost: () => void, times: HeartbeatTimes = HEARTBEAT, now: () => number = () => Date.now()) {
    this.ask = ask;
    this.lost = lost;
    this.times = times;
    this.now = now;
  }

  /** Begins with a new connection. */
  start(): void {
    this.#state = "opening";
    this.#wait(this.#patience(this.times.opening));
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** A frame came. */
  heard(): void {
    this.#heard = this.now();
    // While it is quiet, the timer is only set when it fires, because frames can be frequent.
    if (this.#timer === null || this.#state === "quiet") return;
    this.#state = "quiet";
    this.#wait(this.times.quiet);
  }

  /** An answer came, so the line is fast enough. */
  answered(): void {
    this.#failures = 0;
  }

  /** Checks the connection now, because the computer may have slept, or its network may have changed. */
  check(): void {
    if (this.#timer === null) return;
    const left = this.#state === "quiet" ? Infinity : Math.max(0, this.#due - this.now());
    if (this.#state === "opening") this.#wait(Math.min(left, this.times.answer));
    else this.#send(Math.min(left, this.times.suspicious), "asked");
  }

  #send(patience: number, state: "asked" | "asked again"): void {
    this.#state = state;
    this.#wait(patience);
    this.ask();
  }

  #patience(first: number): number {
    return Math.min(this.times.longest, first * 2 ** this.#failures);
  }

  #wait(ms: number): void {
    this.stop();
    this.#due = this.now() + ms;
    this.#timer = setTimeout(() => this.#fire(), ms);
  }

  #fire(): void {
    const isLate = this.now() - this.#due > LATE_MS;
    if (this.#state === "quiet") {
      const left = this.#heard + this.times.quiet - this.now();
      // It is larger if the clock was set back.
      if (left > 0 && left <= this.times.quiet) this.#wait(left);
      else this.#send(isLate ? this.times.suspicious : this.#patience(this.times.answer), "asked");
    } else if (this.#state === "asked" && isLate) {
      // The answer had no time to come.
      this.#send(this.times.suspicious, "asked again");
    } else {
      this.#failures += 1;
      this.stop();
      this.lost();
    }
  }
}
