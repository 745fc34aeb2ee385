//! Keeps unsent text over a reload or a crash of the page, in the browser's local storage.

import type { Kept } from "./edits";

const PREFIX = "paster:drafts:";

interface Record {
  at: number;
  drafts: Kept[];
}

/** Storage of one notebook's drafts in one tab. */
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

  /** Stores the drafts; none removes the record. */
  store(drafts: Kept[]): void {
    const key = this.#key(this.#tab);
    read(() => {
      if (drafts.length === 0) localStorage.removeItem(key);
      else localStorage.setItem(key, JSON.stringify({ at: Date.now(), drafts } satisfies Record));
    });
  }

  /** Takes what an earlier visit left: this tab's, and that of tabs that have not touched theirs for a while. */
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

/** Storage may be switched off or full: then nothing is kept, and the page works on. */
function read<T>(use: () => T): T | null {
  try {
    return use();
  } catch {
    return null;
  }
}
