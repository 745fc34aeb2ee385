//! The actions of a notebook's keys, buttons and menus.

import { sharePage } from "./account";
import { h } from "../dom";
import type { Session } from "../state/session";
import { loadText, storeText } from "../state/kept";
import { change, isDark, settings } from "../state/settings";
import { fileName, folderOf, join, url } from "../transport/base";
import { openTerminal } from "../transport/files";
import * as rest from "../transport/rest";
import { SLIDE_TYPES_SHOWN } from "./cell-host";
import type { CellList } from "./cells";
import { announce, ask, askText, nameProblem, toast } from "./dialog";
import { logout } from "./logout";
import type { Action } from "./commands";
import type { CommentPanel } from "./comments";
import type { ContentsPanel } from "./contents";
import type { Debugger } from "../state/debugger";
import type { DebuggerPanel } from "./debugger";
import { exportNotebook } from "./export";
import type { FindPanel } from "./find";
import { choose } from "./palette";
import { editSettings } from "./settings";
import { help } from "./shortcuts";
import { kernelPicker } from "./kernel-picker";
import type { Presentation } from "./slides";
import type { CellOperations } from "./structure";
import type { VariablesPanel } from "./variables";

/** The actions that are available while the notebook is not open. */
const ANYTIME: ReadonlySet<Action> = new Set<Action>(["help", "settings", "theme", "palette", "palette_again", "logout"]);

/** The panels beside the cells. */
export interface Panels {
  find: FindPanel;
  contents: ContentsPanel;
  variables: VariablesPanel;
  debugger: DebuggerPanel;
  debug: Debugger;
  comments: CommentPanel;
  slides: Presentation;
}

export class Actions {
  private readonly session: Session;
  private readonly cells: CellList;
  private readonly operations: CellOperations;
  private readonly panels: Panels;

  constructor(session: Session, cells: CellList, operations: CellOperations, panels: Panels) {
    this.session = session;
    this.cells = cells;
    this.operations = operations;
    this.panels = panels;
  }

  /** Whether a command can be used now. */
  usable(action: Action): boolean {
    return !action.startsWith("debug_") || this.panels.debug.stop !== null;
  }

  act(action: Action): void {
    const { notebook, loaded } = this.session;
    // A cell inserted now would be added to whatever the file contains later.
    if (!loaded && !ANYTIME.has(action)) return;
    const place = this.cells.place();
    const selection = this.cells.selection();
    switch (action) {
      case "run_advance": {
        this.#runSelection();
        const next = this.cells.neighbor(Math.max(...selection.map((id) => notebook.index(id)), place), 1);
        if (next === undefined) this.operations.insert(notebook.cells.length, "code", true);
        else this.cells.select(next.id);
        break;
      }
      case "run_stay":
        this.#runSelection();
        this.cells.selectAgain();
        break;
      case "run_insert":
        this.#runSelection();
        this.operations.insert(place + 1, "code", true);
        break;
      case "run_all":
        void this.runAll();
        break;
      case "run_above":
        void this.#runRange(0, place);
        break;
      case "run_below":
        void this.#runRange(place, notebook.cells.length);
        break;
      case "save":
      case "save_again":
        void this.session.save().then(() => announce("Saved"));
        break;
      case "to_command":
        this.cells.selectAgain();
        break;
      case "edit":
        if (this.cells.selected !== null) this.cells.view(this.cells.selected)?.edit();
        break;
      case "up":
      case "down":
      case "extend_up":
      case "extend_down": {
        const next = this.cells.neighbor(place, action.endsWith("up") ? -1 : 1);
        if (next !== undefined) this.cells.select(next.id, action.startsWith("extend"));
        break;
      }
      case "select_all": {
        const first = notebook.cells[0];
        const last = notebook.cells.at(-1);
        if (first === undefined || last === undefined) break;
        this.cells.select(first.id);
        this.cells.select(last.id, true);
        break;
      }
      case "first":
      case "last": {
        const cell = notebook.cells.at(action === "first" ? 0 : -1);
        if (cell !== undefined) this.cells.select(cell.id);
        break;
      }
      case "above":
        this.operations.insert(Math.max(0, place), "code", false);
        break;
      case "below":
        this.operations.insert(place + 1, "code", false);
        break;
      case "delete":
        this.operations.remove(selection);
        break;
      case "undo":
        this.operations.undo();
        break;
      case "redo":
        this.operations.redo();
        break;
      case "cut":
        this.operations.copy(selection);
        this.operations.remove(selection);
        break;
      case "copy":
        this.operations.copy(selection);
        break;
      case "paste_above":
      case "paste_below":
        this.operations.paste(action === "paste_above" ? Math.max(0, place) : place + 1);
        break;
      case "duplicate":
        this.operations.duplicate(selection);
        break;
      case "merge":
        this.operations.merge(selection);
        break;
      case "split":
        this.operations.split();
        break;
      case "code":
      case "markdown":
      case "raw":
        this.operations.setType(action);
        break;
      case "heading_1":
      case "heading_2":
      case "heading_3":
        this.operations.heading(Number(action.at(-1)));
        break;
      case "move_up":
      case "move_down":
        if (this.cells.selected !== null) this.operations.move(this.cells.selected, action === "move_up" ? -1 : 1);
        break;
      case "toggle_output":
        for (const id of selection) this.cells.view(id)?.toggleOutputs();
        break;
      case "toggle_scroll":
        for (const id of selection) this.cells.view(id)?.toggleScroll();
        break;
      case "toggle_source":
        for (const id of selection) this.cells.view(id)?.toggleSource();
        break;
      case "copy_output":
        this.operations.copyOutput(selection);
        break;
      case "clear_output":
        this.session.kernel.clearOutputs(selection);
        break;
      case "interrupt":
        void this.session.kernel.interrupt();
        break;
      case "restart":
        void this.restart(false);
        break;
      case "restart_run_all":
        void this.restart(true);
        break;
      case "shutdown":
        void this.session.kernel.shutdown();
        break;
      case "pick_kernel":
        void this.pickKernel();
        break;
      case "clear_all":
        this.session.kernel.clearOutputs(null);
        break;
      case "contents":
        this.panels.contents.toggle();
        break;
      case "variables":
        this.panels.variables.toggle();
        if (!this.panels.variables.element.hidden) this.panels.debugger.toggle(false);
        break;
      case "debugger":
        this.panels.debugger.toggle();
        // They have the same place.
        if (!this.panels.debugger.element.hidden) this.panels.variables.toggle(false);
        break;
      case "slide_types":
        storeText(SLIDE_TYPES_SHOWN, loadText(SLIDE_TYPES_SHOWN) === "1" ? "0" : "1");
        for (const view of this.cells.views()) view.showSlideType();
        break;
      case "present":
        this.panels.slides.begin(this.cells.selected);
        break;
      case "debug_continue":
        void this.panels.debug.step("continue");
        break;
      case "debug_next":
        void this.panels.debug.step("next");
        break;
      case "debug_in":
        void this.panels.debug.step("stepIn");
        break;
      case "debug_out":
        void this.panels.debug.step("stepOut");
        break;
      case "breakpoint": {
        const view = this.cells.selected === null ? undefined : this.cells.view(this.cells.selected)?.view;
        if (view && this.cells.selected !== null && notebook.cell(this.cells.selected)?.cell_type === "code") this.panels.debug.toggle(this.cells.selected, view.state.doc.lineAt(view.state.selection.main.head).number);
        break;
      }
      case "collapse":
      case "expand":
        this.operations.collapse(selection, action === "collapse");
        break;
      case "collapse_all":
      case "expand_all":
        this.operations.collapse(notebook.cells.map(({ id }) => id), action === "collapse_all");
        break;
      case "line_numbers":
        change({ lineNumbers: !settings().lineNumbers });
        break;
      case "wrap":
        change({ wrap: !settings().wrap });
        break;
      case "theme":
        change({ theme: isDark() ? "light" : "dark" });
        break;
      case "settings":
        void editSettings();
        break;
      case "find":
      case "find_again":
        this.panels.find.open();
        break;
      case "palette":
      case "palette_again":
        void this.palette();
        break;
      case "terminal":
        void this.#terminal();
        break;
      case "export":
        void this.#export();
        break;
      case "print":
        print();
        break;
      case "rename":
        void this.rename();
        break;
      case "download":
        void this.download();
        break;
      case "open_app":
        open(url("app", notebook.path), "_blank", "noopener");
        break;
      case "share":
        location.assign(sharePage(notebook.path));
        break;
      case "comments":
        this.panels.comments.toggle();
        break;
      case "history":
        location.assign(url("history", notebook.path));
        break;
      case "schedule":
        location.assign(url("schedules", notebook.path));
        break;
      case "logout":
        void this.logout();
        break;
      case "help":
        void help();
        break;
    }
  }

  async palette(): Promise<void> {
    const action = await choose();
    if (action !== null) this.act(action);
  }

  #runSelection(): void {
    const { notebook } = this.session;
    const code: string[] = [];
    for (const id of this.cells.selection()) {
      if (notebook.cell(id)?.cell_type === "code") code.push(id);
      else this.cells.view(id)?.closeEditor();
    }
    if (code.length > 0) void this.session.kernel.run(code);
  }

  async #runRange(from: number, to: number): Promise<void> {
    await this.session.kernel.run(this.session.notebook.cells.slice(from, to).filter((cell) => cell.cell_type === "code").map((cell) => cell.id));
  }

  async runAll(): Promise<void> {
    for (const view of this.cells.views()) if (this.session.notebook.cell(view.id)?.cell_type === "markdown") view.closeEditor();
    await this.session.kernel.runAll();
  }

  async restart(runAll: boolean): Promise<void> {
    const { kernel } = this.session.notebook;
    if (kernel.state !== "none" && kernel.state !== "dead") {
      const yes = await ask("Restart the kernel?", [h("p", {}, "All variables are lost. Cells and outputs are kept.")], [
        { label: "Cancel", value: false },
        { label: runAll ? "Restart and run all" : "Restart", value: true, kind: "danger" },
      ]);
      if (yes !== true) return;
    }
    await this.session.kernel.restart(runAll);
  }

  async pickKernel(): Promise<void> {
    const name = await kernelPicker(this.session.notebook.kernel);
    if (name !== null) await this.session.kernel.start(name);
  }

  async #terminal(): Promise<void> {
    try {
      window.open(url("terminals", await openTerminal()), "_blank", "noopener");
    } catch (error) {
      toast(`A terminal could not be opened: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #export(): Promise<void> {
    if (this.session.notebook.may("edit")) await this.session.save();
    await exportNotebook(this.session.notebook.path);
  }

  async rename(): Promise<void> {
    const { path } = this.session.notebook;
    const name = await askText("Rename the notebook", "Name", fileName(path), "Rename", nameProblem);
    if (name === null) return;
    const to = join(folderOf(path), name.endsWith(".ipynb") ? name : `${name}.ipynb`);
    if (to === path) return;
    try {
      await this.session.edits.settleAll();
      await rest.rename(path, to);
      this.session.notebook.path = to;
      this.session.notebook.emit({ type: "path" });
      announce(`Renamed to ${name}`);
    } catch (error) {
      toast(`It could not be renamed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async logout(): Promise<void> {
    // After the logout, the last typed text could no longer be sent.
    if (this.session.connectionState.state === "online") await this.session.edits.settleAll();
    await logout();
  }

  async download(): Promise<void> {
    if (this.session.notebook.may("edit")) await this.session.save();
    const link = h("a", { href: rest.fileUrl(this.session.notebook.path, true), download: fileName(this.session.notebook.path) });
    link.click();
  }
}
