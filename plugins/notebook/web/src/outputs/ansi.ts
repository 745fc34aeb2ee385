//! Terminal text: ANSI colors (ECMA-48 SGR), carriage returns and backspaces, as lines of styled runs. Does not use the DOM.

/** How a run of text looks. Colours: 0 to 15 from the theme, `#rrggbb` as they are. */
export interface Style {
  fg: number | string | null;
  bg: number | string | null;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  strike: boolean;
  inverse: boolean;
}

export interface Run {
  text: string;
  style: Style;
}

const PLAIN: Style = Object.freeze({ fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false });

// CSI sequences, OSC strings (links, titles; ended by BEL or ST), and other two-character escapes.
// eslint-disable-next-line no-control-regex
const TOKEN = /\x1b\[([0-9;:?<=>]*)([ -/]*[@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|[\r\n\b\x07]|[^\x1b\r\n\b\x07]+|\x1b/g;
// eslint-disable-next-line no-control-regex
const UNFINISHED = /[\ud800-\udbff]$|\x1b(?:\[[0-9;:?<=>]*[ -/]*|\][^\x07\x1b]*\x1b?)?$/;

/** Reads terminal text piece by piece. Each finished line is returned once; the last line may still be rewritten. */
export class Terminal {
  #style: Style = PLAIN;
  #chars: string[] = [];
  #styles: Style[] = [];
  #column = 0;
  #rest = "";

  /** Adds text; returns the lines that it finished. */
  feed(text: string): Run[][] {
    const lines: Run[][] = [];
    text = this.#rest + text;
    const cut = UNFINISHED.exec(text);
    this.#rest = cut === null || cut[0].length > 4096 ? "" : cut[0];
    if (this.#rest !== "") text = text.slice(0, -this.#rest.length);
    for (const token of text.matchAll(TOKEN)) {
      const all = token[0];
      if (all === "\n") {
        lines.push(this.line());
        this.#chars = [];
        this.#styles = [];
        this.#column = 0;
      } else if (all === "\r") this.#column = 0;
      else if (all === "\b") {
        this.#split();
        this.#column = Math.max(0, this.#column - 1);
      }
      else if (token[2] === "m") this.#style = restyle(this.#style, token[1] ?? "");
      else if (token[2] === "K") this.#erase(token[1] ?? "");
      else if (all.charCodeAt(0) !== 0x1b && all !== "\x07") this.#write(all);
    }
    return lines;
  }

  /** The line that is not finished yet. */
  line(): Run[] {
    const runs: Run[] = [];
    let last: Run | null = null;
    for (let i = 0; i < this.#chars.length; i++) {
      const style = this.#styles[i] ?? PLAIN;
      const char = this.#chars[i] ?? " ";
      if (last !== null && last.style === style) last.text += char;
      else runs.push((last = { text: char, style }));
    }
    return runs;
  }

  #write(text: string): void {
    if (this.#column === this.#chars.length && text.length > 64) {
      // Usually a long piece at the end of the line, kept as one: it is rarely overwritten, and is split then.
      this.#chars.push(text);
      this.#styles.push(this.#style);
      this.#column += 1;
      return;
    }
    if (this.#column < this.#chars.length) this.#split();
    for (const char of text) {
      this.#chars[this.#column] = char;
      this.#styles[this.#column] = this.#style;
      this.#column += 1;
    }
  }

  /** Makes every entry one character, so that columns can be counted. */
  #split(): void {
    if (!this.#chars.some((entry) => entry.length > 2)) return;
    const chars: string[] = [];
    const styles: Style[] = [];
    let column = 0;
    this.#chars.forEach((entry, i) => {
      if (i === this.#column) column = chars.length;
      for (const char of entry) {
        chars.push(char);
        styles.push(this.#styles[i] ?? PLAIN);
      }
    });
    if (this.#column >= this.#chars.length) column = chars.length;
    this.#chars = chars;
    this.#styles = styles;
    this.#column = column;
  }

  #erase(how: string): void {
    this.#split();
    if (how === "2") {
      this.#chars.fill(" ", 0, this.#chars.length);
    } else if (how === "1") {
      this.#chars.fill(" ", 0, this.#column);
    } else {
      this.#chars.length = Math.min(this.#column, this.#chars.length);
      this.#styles.length = this.#chars.length;
    }
  }
}

/** Parses a whole text at once. */
export function parse(text: string): Run[][] {
  const terminal = new Terminal();
  const lines = terminal.feed(text);
  lines.push(terminal.line());
  return lines;
}

/** A text without its escape sequences. */
export function plain(text: string): string {
  return parse(text).map((line) => line.map((run) => run.text).join("")).join("\n");
}

function restyle(style: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let next: Style = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] ?? 0;
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 7) next.inverse = true;
    else if (code === 9) next.strike = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 27) next.inverse = false;
    else if (code === 29) next.strike = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 39) next.fg = null;
    else if (code === 49) next.bg = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes.slice(i + 1));
      if (code === 38) next.fg = colour;
      else next.bg = colour;
      i += used;
    }
  }
  return next;
}

/** `5;n` of the 256 colors or `2;r;g;b`; also how many codes it used. */
function extended(codes: number[]): [number | string | null, number] {
  const [kind, a = 0, b = 0, c = 0] = codes;
  if (kind === 5) {
    if (a < 16) return [a, 2];
    if (a < 232) {
      const level = (n: number) => (n === 0 ? 0 : 55 + 40 * n);
      const n = a - 16;
      return [hex(level(Math.floor(n / 36)), level(Math.floor(n / 6) % 6), level(n % 6)), 2];
    }
    const grey = 8 + 10 * (Math.min(a, 255) - 232);
    return [hex(grey, grey, grey), 2];
  }
  if (kind === 2) return [hex(a, b, c), 4];
  return [null, 1];
}

function hex(...channels: number[]): string {
  return `#${channels.map((n) => Math.max(0, Math.min(255, Math.round(n))).toString(16).padStart(2, "0")).join("")}`;
}
