//! What the page shows about saving, the connection and the kernel.

import type { Keep, KernelState } from "../protocol";
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
    return [unsent ? `${words}, changes kept here` : words, "bad"];
  }
  if (notebook.conflict !== null) return ["Not saved: changed on disk", "bad"];
  if (notebook.saving.failure !== null) return ["Not saved", "bad"];
  if (unsent || notebook.saving.unsaved) return ["Saving …", "busy"];
  return ["Saved", "ok"];
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
    // A file that is no notebook has its own page.
    const broken = !session.loaded && connectionState.status === 400;
    this.#set("offline", connectionState.state === "offline" && !broken ? (connectionState.message === "" ? "The server does not answer. Reconnecting automatically; until then, your changes are kept here." : connectionState.message) : null, "bad", () => [
      button("Try now", () => acts.retry(), { class: "button" }),
    ]);
    this.#set("failure", notebook.saving.failure === null ? null : `The notebook could not be written: ${notebook.saving.failure}`, "bad", () => []);
    this.#set("conflict", notebook.conflict === null ? null : `${notebook.conflict} Nothing is saved until you choose. The other version is saved in a copy beside the file.`, "bad", () => [
      button("Keep this version", () => acts.resolve("mine"), { class: "button" }),
      button("Use the file on disk", () => acts.resolve("disk"), { class: "button" }),
    ]);
    const dead = kernel.state === "dead";
    const none = kernel.state === "none" && kernel.message !== null;
    this.#set("lost", notebook.lostKernel && kernel.state === "none" ? "The kernel is gone, and its variables with it. Running a cell starts a new one." : null, "bad", () => []);
    this.#set("kernel", dead ? `The kernel died${kernel.message === null ? "." : `: ${kernel.message}`}\nIts variables are lost. Cells and outputs stay.` : none ? kernel.message : null, dead ? "bad" : "info", () =>
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
