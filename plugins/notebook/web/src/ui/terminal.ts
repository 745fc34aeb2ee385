//! The page of a terminal.

import { type ITheme, Terminal } from "@xterm/xterm";
import { h, icon } from "../dom";
import { isDark, listen, settings } from "../state/settings";
import { base } from "../transport/base";
import { terminalAddress } from "../transport/files";

/** The delay before reconnecting, in milliseconds. */
const AGAIN = 1000;

export class TerminalPage {
  readonly #state = h("span", { class: "save-state", role: "status" });
  readonly #main = h("main", { class: "terminal-main" });
  readonly #terminal: Terminal;
  #socket: WebSocket | null = null;
  #ended = false;
  private readonly name: string;

  constructor(name: string) {
    this.name = name;
    this.#terminal = new Terminal({ fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"), fontSize: settings().fontSize, cursorBlink: true, scrollback: 10_000, theme: theme(), screenReaderMode: true });
  }

  open(body: HTMLElement): void {
    document.title = `Terminal ${this.name}`;
    body.append(
      h("header", { class: "top" }, h("div", { class: "bar" },
        h("a", { class: "home", href: base().href, title: "Files" }, icon("folder"), h("span", { class: "visually-hidden" }, "Files")),
        h("h1", {}, `Terminal ${this.name}`), this.#state, h("span", { class: "spring" }))),
      this.#main,
    );
    this.#terminal.open(this.#main);
    this.#terminal.onData((text) => this.#send("stdin", text));
    this.#terminal.onResize(({ cols, rows }) => this.#send("set_size", rows, cols));
    new ResizeObserver(() => this.#fit()).observe(this.#main);
    listen(({ fontSize }) => {
      this.#terminal.options.fontSize = fontSize;
      this.#terminal.options.theme = theme();
      this.#fit();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.#terminal.options.theme = theme()));
    this.#connect();
    this.#terminal.focus();
  }

  #connect(): void {
    const socket = new WebSocket(terminalAddress(this.name));
    this.#socket = socket;
    this.#state.textContent = "Connecting …";
    socket.onopen = () => {
      this.#state.textContent = "";
      this.#fit();
      this.#send("set_size", this.#terminal.rows, this.#terminal.cols);
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      const [kind, text] = JSON.parse(String(data)) as [string, unknown];
      // Each connection replays the terminal's output.
      if (kind === "setup") this.#terminal.reset();
      if (kind === "stdout") this.#terminal.write(String(text));
      if (kind === "disconnect") this.#end();
    };
    socket.onclose = ({ code }) => {
      if (this.#ended) return;
      if (code === 4404) return this.#end();
      this.#state.textContent = "Not connected";
      setTimeout(() => this.#connect(), AGAIN);
    };
  }

  #end(): void {
    this.#ended = true;
    this.#state.textContent = "The program has ended";
    this.#terminal.options.disableStdin = true;
  }

  #send(...message: unknown[]): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** Uses as many rows and columns as there is room for. */
  #fit(): void {
    const screen = this.#main.querySelector<HTMLElement>(".xterm-screen");
    if (screen === null || screen.clientWidth === 0) return;
    const cell = { width: screen.clientWidth / this.#terminal.cols, height: screen.clientHeight / this.#terminal.rows };
    const room = this.#main.getBoundingClientRect();
    const [cols, rows] = [Math.max(20, Math.floor((room.width - 24) / cell.width)), Math.max(5, Math.floor((room.height - 16) / cell.height))];
    if (cols !== this.#terminal.cols || rows !== this.#terminal.rows) this.#terminal.resize(cols, rows);
  }
}

function theme(): ITheme {
  return isDark() ? { background: "#191d21", foreground: "#e4e7ea", cursor: "#4fd1c0", selectionBackground: "#2f5450" } : { background: "#fafaf8", foreground: "#1f2328", cursor: "#0f766e", selectionBackground: "#bfe3dd", white: "#5f6670", brightWhite: "#3c4043", yellow: "#7d5b00", brightYellow: "#8a5a00" };
}
