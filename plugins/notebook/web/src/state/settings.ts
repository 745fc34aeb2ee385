//! How a user wants the pages: stored in this browser, and the same in all of its tabs.

import { loadText, storeText } from "./kept";

/** The settings. */
export interface Settings {
  theme: "system" | "light" | "dark";
  /** Of code, in pixels. */
  fontSize: number;
  lineNumbers: boolean;
  wrap: boolean;
  /** Close brackets and quotes. */
  brackets: boolean;
  /** Suggest completions while typing, not only after Tab. */
  suggest: boolean;
  /** Show the signature after an opening parenthesis. */
  signatures: boolean;
  /** The user's own keys, by action. An action without an entry has its default keys. */
  keys: Readonly<Record<string, readonly string[]>>;
}

export const DEFAULTS: Settings = { theme: "system", fontSize: 13.5, lineNumbers: false, wrap: true, brackets: true, suggest: false, signatures: false, keys: {} };

const KEY = "paster:settings";
const SIZES = { least: 9, most: 28 };

let present: Settings | null = null;
const listeners = new Set<(settings: Settings) => void>();

/** The present settings. */
export function settings(): Settings {
  present ??= parse(loadText(KEY));
  return present;
}

/** Changes some settings and keeps them. */
export function change(part: Partial<Settings>): void {
  present = { ...settings(), ...part };
  storeText(KEY, JSON.stringify(present));
  tell();
}

/** Calls `listener` with the settings after each change, also in another tab. */
export function listen(listener: (settings: Settings) => void): void {
  listeners.add(listener);
}

/** Applies the settings that concern the whole page, now and after each change. */
export function applyToPage(): void {
  const apply = ({ theme, fontSize, wrap }: Settings): void => {
    const root = document.documentElement;
    if (theme === "system") delete root.dataset["theme"];
    else root.dataset["theme"] = theme;
    root.style.setProperty("--code-size", `${fontSize}px`);
    root.classList.toggle("no-wrap", !wrap);
  };
  apply(settings());
  listen(apply);
  addEventListener("storage", ({ key }) => {
    if (key !== KEY) return;
    present = null;
    tell();
  });
}

/** Whether the page is dark. */
export function isDark(): boolean {
  const { theme } = settings();
  return theme === "system" ? matchMedia("(prefers-color-scheme: dark)").matches : theme === "dark";
}

function tell(): void {
  const now = settings();
  for (const listener of listeners) listener(now);
}

/** Reads stored settings. What is missing or wrong gets its default. */
export function parse(text: string | null): Settings {
  let stored: Partial<Record<keyof Settings, unknown>> = {};
  try {
    const value: unknown = JSON.parse(text ?? "{}");
    if (typeof value === "object" && value !== null) stored = value;
  } catch {
    // As without stored settings.
  }
  const flag = (name: "lineNumbers" | "wrap" | "brackets" | "suggest" | "signatures"): boolean => (typeof stored[name] === "boolean" ? stored[name] : DEFAULTS[name]);
  const size = Number(stored.fontSize);
  return {
    theme: stored.theme === "light" || stored.theme === "dark" ? stored.theme : "system",
    fontSize: size >= SIZES.least && size <= SIZES.most ? size : DEFAULTS.fontSize,
    lineNumbers: flag("lineNumbers"),
    wrap: flag("wrap"),
    brackets: flag("brackets"),
    suggest: flag("suggest"),
    signatures: flag("signatures"),
    keys: keysOf(stored.keys),
  };
}

function keysOf(stored: unknown): Settings["keys"] {
  if (typeof stored !== "object" || stored === null) return {};
  const isKeys = (keys: unknown): keys is string[] => Array.isArray(keys) && keys.every((one) => typeof one === "string");
  return Object.fromEntries(Object.entries(stored).filter((entry): entry is [string, string[]] => isKeys(entry[1])));
}
