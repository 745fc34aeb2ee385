//! What is kept in the browser's storage: unsent text, so that it survives a reload or a crash of the page, and choices.

import type { Kept } from "./edits";

const PREFIX = "paster:drafts:";

interface Record {
  at: number;
  drafts: Kept[];
}

/** The stored drafts of one notebook in one tab. */
export class DraftStore {
  readonly #tab: string;
  private readonly document: string;

  constructor(document: string) {
    this.document = document;
    let tab = read(() => sessionStorage.getItem("paster:tab"));
    if (tab === null) {
      tab = Math.random().toString(36).slice(2, 10);
      const made = tab;
      read(() => sessionStorage.setItem("paster:tab", made));
    }
    this.#tab = tab;
  }

  /** Stores the drafts. If there are none, removes the record. */
  store(drafts: Kept[]): void {
    const key = this.#key(this.#tab);
    read(() => {
      if (drafts.length === 0) localStorage.removeItem(key);
      else localStorage.setItem(key, JSON.stringify({ at: Date.now(), drafts } satisfies Record));
    });
  }

  /** Takes the drafts of an earlier visit: those of this tab, and those of tabs that have not updated theirs for a while. */
  take(): Kept[] {
    const found: Kept[] = [];
    read(() => {
      for (const key of Object.keys(localStorage)) {
        if (!key.startsWith(this.#key(""))) continue;
        const record = parse(localStorage.getItem(key));
        if (record === null || (key !== this.#key(this.#tab) && Date.now() - record.at < 10_000)) continue;
        found.push(...record.drafts);
        localStorage.removeItem(key);
      }
    });
    return found;
  }

  #key(tab: string): string {
    return `${PREFIX}${this.document}:${tab}`;
  }
}

function parse(text: string | null): Record | null {
  try {
    const value = JSON.parse(text ?? "null") as Partial<Record> | null;
    if (value === null || typeof value.at !== "number" || !Array.isArray(value.drafts)) return null;
    return { at: value.at, drafts: value.drafts.filter((d) => typeof d?.id === "string" && typeof d.base === "string" && typeof d.text === "string") };
  } catch {
    return null;
  }
}

/** A text that this browser keeps for all notebooks. */
export function loadText(key: string): string | null {
  return read(() => localStorage.getItem(key));
}

/** Keeps a text in this browser, if it can. Otherwise the choice applies until the page is left. */
export function storeText(key: string, text: string): void {
  read(() => localStorage.setItem(key, text));
}

/** Storage may be disabled or full. Then nothing is stored, and the page still works. */
function read<T>(use: () => T): T | null {
  try {
    return use();
  } catch {
    return null;
  }
}
