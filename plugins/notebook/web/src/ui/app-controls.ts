//! The line above the cells of an app or a published notebook that tells whether its controls can be used, and the session
//! behind them.

import { button, fill, h } from "../dom";
import { WIDGET } from "../outputs/mime";
import type { Output } from "../protocol";
import { LiveApp } from "../state/live-app";
import type { Controls } from "../transport/apps";
import type { Socket } from "../transport/early";
import { toast } from "./dialog";

/** What the line needs. */
export interface ControlsHost {
  connect(): Socket;
  /** Shows the outputs of a session. */
  show(live: LiveApp): void;
}

export class AppControls {
  readonly element = h("p", { class: "note app-controls", role: "status", hidden: true });
  #live: LiveApp | null = null;
  private readonly host: ControlsHost;

  constructor(host: ControlsHost) {
    this.host = host;
    addEventListener("pagehide", () => this.#live?.stop());
  }

  /** The controls cannot be used. */
  refuse(problem: string): void {
    this.#say(problem);
  }

  /** The reader decides whether to use them. */
  offer(): void {
    this.#say("The controls show their saved state. ", "Use the controls");
  }

  /** Starts a session. */
  start(): void {
    this.#live?.stop();
    this.#say("Starting the controls …");
    const live = new LiveApp(() => this.host.connect(), {
      opened: () => {
        this.host.show(live);
        this.element.hidden = true;
        this.element.dataset["state"] = "live";
      },
      ended: (message) => {
        if (this.#live === live) this.#say(`${sentence(message)} `, "Start again");
      },
      refused: (message) => toast(sentence(message)),
    });
    this.#live = live;
    live.start();
  }

  #say(text: string, action = ""): void {
    this.element.hidden = false;
    delete this.element.dataset["state"];
    fill(this.element, text, action !== "" && button(action, () => this.start(), { class: "link" }));
  }
}

/** Whether outputs have a control. */
export function hasControls(cells: readonly { outputs?: Output[] }[]): boolean {
  return cells.some(({ outputs }) => (outputs ?? []).some((output) => "data" in output && WIDGET in output.data));
}

/** Shows the line for controls that are offered to the reader, or started at once. */
export function beginControls(line: AppControls, controls: Controls, has: boolean, atOnce: boolean): void {
  if (controls.usable && atOnce) line.start();
  else if (has && controls.usable) line.offer();
  else if (has && controls.problem !== null) line.refuse(controls.problem);
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}
