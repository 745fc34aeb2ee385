//! Starts the real program with the notebook in a temporary folder, and ends it.
//!
//! PASTER_BIN is the program (default: the workspace's debug build), PASTER_NOTEBOOK a built plugin (default: the library beside
//! the program; if there is none, the program builds the crate), PASTER_TEST_PYTHON a Python with ipykernel and matplotlib.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
/** The workspace. The bundle of a test is in `plugins/notebook/web/tests/.built`. */
const ROOT = resolve(HERE, "../../../../..");
export const BIN = process.env["PASTER_BIN"] ?? join(ROOT, "target/debug/paster");

export const TOKEN = "token-of-the-tests";

export class Server {
  url = "";
  log = "";
  #child: ChildProcess | null = null;

  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** A server with an empty folder of notebooks; `prefix` mounts the notebook there, `settings` are further lines of the table of its settings, and `app` of its own; `port` is where it listens. */
  static async start(prefix = "", settings = "", app = "", port = 0): Promise<Server> {
    const server = new Server(await mkdtemp(join(tmpdir(), "paster-web-")));
    await mkdir(server.data);
    const beside = join(dirname(BIN), "libnotebook.so");
    const library = process.env["PASTER_NOTEBOOK"] ?? (existsSync(beside) ? beside : null);
    const quoted = JSON.stringify;
    const python = process.env["PASTER_TEST_PYTHON"];
    await writeFile(
      join(server.folder, "server.toml"),
      `[server.main]
use = "http"
listen = ["127.0.0.1:${port}"]
app = "${prefix === "" ? "main" : "site"}"

[app.main]
use = "plugin"
${library === null ? `crate = ${quoted(resolve(ROOT, "plugins/notebook"))}\nprofile = "dev"` : `library = ${quoted(library)}`}
${app}
[app.main.settings]
data_dir = ${quoted(server.data)}
state_dir = ${quoted(join(server.folder, "state"))}
token = ${quoted(TOKEN)}
${python === undefined ? "" : `python = ${quoted(python)}`}
${settings}
${prefix === "" ? "" : `\n[app.site]\nuse = "mount"\n[app.site.routes]\n${quoted(prefix)} = "main"\n`}`,
    );
    await server.#run(prefix);
    return server;
  }

  get data(): string {
    return join(this.folder, "data");
  }

  /** The process of the program. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** A notebook's file as JSON. */
  async file(name: string): Promise<{ cells: { cell_type: string; source: string | string[]; outputs?: unknown[] }[] }> {
    return JSON.parse(await readFile(join(this.data, name), "utf8")) as Awaited<ReturnType<Server["file"]>>;
  }

  /** Writes a notebook's file. */
  async write(name: string, cells: { cell_type: string; source: string; outputs?: unknown[]; metadata?: unknown }[]): Promise<void> {
    const whole = cells.map((cell, i) => ({ id: `cell${i}`, metadata: {}, ...(cell.cell_type === "code" ? { outputs: [], execution_count: null } : {}), ...cell }));
    await writeFile(join(this.data, name), JSON.stringify({ cells: whole, metadata: {}, nbformat: 4, nbformat_minor: 5 }));
  }

  /** Requests a reload: the next generation takes over. */
  reload(): void {
    this.#child?.kill("SIGHUP");
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child !== null && child.exitCode === null) {
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
      await ended;
      clearTimeout(late);
    }
    await rm(this.folder, { recursive: true, force: true });
  }

  async #run(prefix: string): Promise<void> {
    const child = spawn(BIN, ["serve", join(this.folder, "server.toml"), "--json"], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, HOME: this.folder, IPYTHONDIR: join(this.folder, "ipython") } });
    this.#child = child;
    child.stderr.on("data", (part: Buffer) => (this.log += part.toString()));
    await new Promise<void>((ready, failed) => {
      createInterface({ input: child.stdout }).on("line", (line) => {
        this.log += `${line}\n`;
        const event = JSON.parse(line) as { event?: string; url?: string };
        if (event.event === "listening" && event.url !== undefined) this.url = event.url.replace(/\/$/, "") + (prefix === "" ? "/" : `${prefix}/`);
        if (event.event === "ready") ready();
      });
      child.once("error", failed);
      child.once("exit", (code) => failed(new Error(`paster ended with ${code}:\n${this.log}`)));
    });
  }
}
