//! The commands of a notebook in one table: their names for the palette and the menus, and Jupyter's keys for them.

/** Where a command's keys work: everywhere, while typing in a cell, or while a cell is selected as a whole. */
export type Mode = "always" | "edit" | "command";

interface Command {
  action: string;
  /** Its label in a menu. */
  about: string;
  mode: Mode;
  keys: readonly string[];
}

const always = <A extends string>(action: A, about: string, ...keys: string[]) => ({ action, about, mode: "always" as const, keys });
const edit = <A extends string>(action: A, about: string, ...keys: string[]) => ({ action, about, mode: "edit" as const, keys });
const command = <A extends string>(action: A, about: string, ...keys: string[]) => ({ action, about, mode: "command" as const, keys });

/** All commands, in the order of the palette. Letters are the keys with these letters; `D D` is pressed one after the other. */
export const COMMANDS = [
  always("run_advance", "Run, then go to the next cell", "Shift+Enter"),
  always("run_stay", "Run and stay", "Mod+Enter"),
  always("run_insert", "Run and insert a cell below", "Alt+Enter"),
  command("run_all", "Run all cells"),
  command("run_above", "Run all above"),
  command("run_below", "Run this and all below"),
  command("interrupt", "Interrupt the kernel", "I I"),
  command("restart", "Restart the kernel", "0 0"),
  command("restart_run_all", "Restart and run all"),
  command("shutdown", "Shut down the kernel"),
  command("pick_kernel", "Choose a kernel"),
  always("save", "Save now (changes are also saved automatically)", "Mod+S"),
  command("save_again", "Save now", "S"),
  always("find", "Find and replace", "Mod+F"),
  command("find_again", "Find and replace", "F"),
  always("palette", "Search the commands", "Mod+Shift+P"),
  command("palette_again", "Search the commands", "P"),
  edit("to_command", "Leave the editor", "Escape"),
  edit("split", "Split the cell at the cursor", "Mod+Shift+-"),
  command("edit", "Edit the cell", "Enter"),
  command("up", "Select the cell above", "ArrowUp", "K"),
  command("down", "Select the cell below", "ArrowDown", "J"),
  command("extend_up", "Extend the selection upwards", "Shift+ArrowUp", "Shift+K"),
  command("extend_down", "Extend the selection downwards", "Shift+ArrowDown", "Shift+J"),
  command("select_all", "Select all cells", "Mod+A"),
  command("first", "Go to the first cell", "Mod+Home"),
  command("last", "Go to the last cell", "Mod+End"),
  command("above", "Insert a cell above", "A"),
  command("below", "Insert a cell below", "B"),
  command("delete", "Delete", "D D"),
  command("undo", "Undo the last change of cells", "Z"),
  command("redo", "Redo the last change of cells", "Shift+Z"),
  command("cut", "Cut", "X"),
  command("copy", "Copy", "C"),
  command("paste_below", "Paste below", "V"),
  command("paste_above", "Paste above", "Shift+V"),
  command("duplicate", "Duplicate"),
  command("merge", "Merge the selected cells, or with the one below", "Shift+M"),
  command("move_up", "Move up", "Alt+ArrowUp"),
  command("move_down", "Move down", "Alt+ArrowDown"),
  command("code", "Change to code", "Y"),
  command("markdown", "Change to Markdown", "M"),
  command("raw", "Change to raw text", "R"),
  command("heading_1", "Change to a heading", "1"),
  command("heading_2", "Change to a second-level heading", "2"),
  command("heading_3", "Change to a third-level heading", "3"),
  command("toggle_output", "Hide or show the output", "O"),
  command("toggle_scroll", "Scroll a long output in a box, or show all of it", "Shift+O"),
  command("toggle_source", "Hide or show the source", "Shift+H"),
  command("copy_output", "Copy the output"),
  command("clear_output", "Clear the output", "Shift+X"),
  command("clear_all", "Clear all outputs"),
  command("contents", "Show or hide the table of contents", "Shift+T"),
  command("variables", "Show or hide the variables", "Shift+I"),
  command("debugger", "Show or hide the debugger"),
  always("debug_continue", "Debugger: continue", "F9"),
  always("debug_next", "Debugger: step over", "F10"),
  always("debug_in", "Debugger: step into", "F11"),
  always("debug_out", "Debugger: step out", "Shift+F11"),
  edit("breakpoint", "Set or remove a breakpoint in this line", "Shift+F9"),
  command("slide_types", "Show or hide the types of slides"),
  command("present", "Present the slides"),
  command("collapse", "Hide the section of a heading", "ArrowLeft"),
  command("expand", "Show the section of a heading", "ArrowRight"),
  command("collapse_all", "Hide all sections"),
  command("expand_all", "Show all sections"),
  command("line_numbers", "Turn line numbers on or off", "L"),
  command("wrap", "Turn wrapping of long lines on or off"),
  command("theme", "Switch between the light and the dark theme"),
  command("settings", "Settings"),
  command("terminal", "Open a terminal"),
  command("export", "Export"),
  command("print", "Print"),
  command("comments", "Comments"),
  command("history", "History"),
  command("schedule", "Schedule"),
  command("rename", "Rename"),
  command("download", "Download"),
  command("open_app", "Open as app"),
  command("share", "Share"),
  command("logout", "Log out"),
  command("help", "Keyboard shortcuts", "H"),
] as const satisfies readonly Command[];

/** The actions of the commands, by name. */
export type Action = (typeof COMMANDS)[number]["action"];

/** A second entry for the same command in another mode. */
const SAME: Readonly<Partial<Record<Action, Action>>> = { save_again: "save", find_again: "find", palette_again: "palette" };

/** The command that an entry is for. */
export function meant(action: Action): Action {
  return SAME[action] ?? action;
}

/** The keys of an entry: the user's own, or else Jupyter's. */
export function keysOf(action: Action, own: Readonly<Record<string, readonly string[]>>): readonly string[] {
  return own[action] ?? defaultKeys(action);
}

/** Jupyter's keys of an entry. */
export function defaultKeys(action: Action): readonly string[] {
  return COMMANDS.find((entry) => entry.action === action)?.keys ?? [];
}

/** Whether two keys cannot both be used: they are the same, or one is the first of the other's two. */
export function clash(one: string, other: string): boolean {
  return one === other || one.startsWith(`${other} `) || other.startsWith(`${one} `);
}

/** Which entries have keys that clash with `keys` where `action` would meet them. */
export function usersOf(keys: string, action: Action, own: Readonly<Record<string, readonly string[]>>): readonly (typeof COMMANDS)[number][] {
  const mode = COMMANDS.find((entry) => entry.action === action)?.mode;
  return COMMANDS.filter((entry) => entry.action !== action && (entry.mode === mode || entry.mode === "always" || mode === "always") && keysOf(entry.action, own).some((one) => clash(one, keys)));
}
