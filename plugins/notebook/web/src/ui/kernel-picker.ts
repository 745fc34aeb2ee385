//! The dialog that chooses a kernel, and installs one into a Python environment that has none.

import { button, fill, h } from "../dom";
import type { Kernel } from "../protocol";
import * as rest from "../transport/rest";
import { ask } from "./dialog";

/** Asks which kernel to use; null if dismissed. */
export async function kernelPicker(present: Kernel): Promise<string | null> {
  let specs: rest.KernelSpec[];
  try {
    specs = await rest.kernelSpecs();
  } catch (error) {
    await ask("Kernels", [h("p", {}, error instanceof Error ? error.message : String(error))], [{ label: "Close", value: null, kind: "main" }]);
    return null;
  }
  const { environments, can_install } = await rest.environments().catch(() => ({ environments: [], can_install: false }));
  const without = can_install ? environments.filter(({ has_ipykernel }) => !has_ipykernel) : [];
  if (specs.length === 0 && without.length === 0) {
    await ask("No kernels found", [h("p", {}, present.message ?? "Install Python 3, or a Jupyter kernel, and reload the page.")], [{ label: "Close", value: null, kind: "main" }]);
    return null;
  }
  const group = h("div", { class: "choices", role: "radiogroup", "aria-label": "Kernel" });
  const show = (chosen: string | undefined): void =>
    fill(group, ...specs.map((spec) => {
      const id = `kernel-${spec.name}`;
      return h("label", { for: id }, h("input", { type: "radio", name: "kernel", id, value: spec.name, checked: spec.name === chosen }), h("span", {}, spec.displayName), h("span", { class: "faint" }, spec.language));
    }));
  show(present.name ?? specs[0]?.name);
  const installed = async (name: string): Promise<void> => {
    specs = await rest.kernelSpecs();
    show(name);
  };
  const running = present.state === "idle" || present.state === "busy";
  const note = h("p", { class: "faint" }, running ? "Starting another kernel ends the current one, and its variables are lost." : "");
  const yes = await ask("Choose a kernel", [group, ...without.map((environment) => installer(environment, installed)), note], [{ label: "Cancel", value: false }, { label: "Start", value: true, kind: "main" }]);
  return yes === true ? (group.querySelector<HTMLInputElement>("input:checked")?.value ?? null) : null;
}

/** An environment without ipykernel, and the button that installs it. */
function installer({ name, display_name }: rest.Environment, installed: (name: string) => Promise<void>): HTMLElement {
  const said = h("p", { class: "faint installer-note", role: "status" }, "This environment has no kernel. Install ipykernel here?");
  const install = button(`Install ipykernel into ${display_name}`, () => void run(), { text: "Install", class: "button" });
  install.setAttribute("aria-label", `Install ipykernel into ${display_name}`);
  const row = h("div", { class: "installer" }, h("div", {}, h("p", {}, display_name), said), install);
  const run = async (): Promise<void> => {
    install.disabled = true;
    said.textContent = "Installing …";
    try {
      await rest.installKernel(name);
      await installed(name);
      row.remove();
    } catch (error) {
      said.textContent = error instanceof Error ? error.message : String(error);
      said.classList.add("error-text");
      install.disabled = false;
    }
  };
  return row;
}
