//! What the page shows about saving, the connection and the kernel.

import type { Cell, Keep, KernelState } from "../protocol";
import { outputText } from "../state/clipboard";
import type { Session } from "../state/session";
import { button, h } from "../dom";

/** Kernel states in words. */
export const KERNEL_WORDS: Record<KernelState, string> = {
  none: "Not started",
  starting: "Starting",
  idle: "Idle",
  busy: "Busy",
  restarting: "Restarting",
  dead: "Died",
};

/** The save state in words, and its kind for the style. */
export function saveWords({ notebook, connectionState: { state, message }, unsent, loaded }: Session): [string, "ok" | "busy" | "bad"] {
  if (!loaded) return state !== "offline" ? ["Opening …", "busy"] : [message === "" ? "Offline" : "Not opened", "bad"];
  if (!notebook.may("edit")) return [notebook.may("run") ? "You may run it" : "You may view it", "ok"];
  if (!notebook.writable) return ["Read only", "ok"];
  if (state === "offline") {
    const words = message === "" ? "Offline" : "Not connected";
    return [unsent ? `${words}, changes kept in this page` : words, "bad"];
  }
  if (notebook.conflict !== null) return ["Not saved: changed on disk", "bad"];
  if (notebook.saving.failure !== null) return ["Not saved", "bad"];
  if (unsent || notebook.saving.unsaved) return ["Saving …", "busy"];
  return ["Saved", "ok"];
}

/** An announcement is short: it cannot be skipped. */
const ANNOUNCED_CHARS = 200;

/** The end of a cell's run in words, with a short result. */
export function endWords({ outputs }: Pick<Cell, "outputs">, place: number): string {
  const error = outputs.find((output) => output.output_type === "error");
  if (error !== undefined) return `Cell ${place} ended with an error: ${shortened(`${error.ename}: ${error.evalue}`)}`;
  if (outputs.length === 0) return `Cell ${place} has finished`;
  // The text of a long output is not put together for this.
  const chars = outputs.reduce((sum, output) => sum + (output.output_type === "stream" ? output.text.length : 0), 0);
  const text = chars > 100 * ANNOUNCED_CHARS ? "" : outputText(outputs).replace(/\s+/g, " ").trim();
  return text === "" || text.length > ANNOUNCED_CHARS ? `Cell ${place} has finished, with output` : `Cell ${place} has finished: ${text}`;
}

function shortened(text: string): string {
  return text.length > ANNOUNCED_CHARS ? `${text.slice(0, ANNOUNCED_CHARS)} …` : text;
}

/** The actions of the notices. */
export interface Acts {
  retry(): void;
  pick(): void;
  restart(): void;
  resolve(keep: Keep): void;
}

/** The notices below the toolbar. Each is shown as long as it applies. */
export class Notices {
  readonly element = h("div", { class: "notices" });
  readonly #shown = new Map<string, { text: string; element: HTMLElement }>();

  show(session: Session, acts: Acts): void {
    const { notebook, connectionState } = session;
    const { kernel } = notebook;
    // A file that is not a notebook has its own page.
    const broken = !session.loaded && connectionState.status === 400;
    this.#set("offline", connectionState.state === "offline" && !broken ? (connectionState.message === "" ? "The server does not respond. Reconnecting automatically. Until then, this page keeps your changes." : connectionState.message) : null, "bad", () => [
      button("Try now", () => acts.retry(), { class: "button" }),
    ]);
    this.#set("failure", notebook.saving.failure === null ? null : `The notebook could not be written: ${notebook.saving.failure}`, "bad", () => []);
    this.#set("conflict", notebook.conflict === null ? null : `${notebook.conflict} Nothing is saved until you choose. The other version is saved in a copy beside the file.`, "bad", () => [
      button("Keep this version", () => acts.resolve("mine"), { class: "button" }),
      button("Use the file on disk", () => acts.resolve("disk"), { class: "button" }),
    ]);
    const dead = kernel.state === "dead";
    const none = kernel.state === "none" && kernel.message !== null;
    this.#set("lost", notebook.lostKernel && kernel.state === "none" ? "The kernel has ended, and its variables are lost. Running a cell starts a new one." : null, "bad", () => []);
    this.#set("kernel", dead ? `The kernel died${kernel.message === null ? "." : `: ${kernel.message}`}\nIts variables are lost. Cells and outputs are kept.` : none ? kernel.message : null, dead ? "bad" : "info", () =>
      dead ? [button("Restart the kernel", () => acts.restart(), { class: "button" })] : [button("Choose a kernel", () => acts.pick(), { class: "button" })],
    );
  }

  #set(name: string, text: string | null, kind: "bad" | "info", actions: () => HTMLElement[]): void {
    const shown = this.#shown.get(name);
    if (shown?.text === text || (shown === undefined && text === null)) return;
    shown?.element.remove();
    this.#shown.delete(name);
    if (text === null) return;
    const element = h("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" }, h("p", {}, text), ...actions());
    this.#shown.set(name, { text, element });
    this.element.append(element);
  }
}
