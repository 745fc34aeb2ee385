//! A PostgreSQL server in its own folder, on a Unix socket.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "./wait";

/** The user that runs it if the tests run as root, which PostgreSQL refuses. */
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;
const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {};

function program(name: string): string | undefined {
  const versions = "/usr/lib/postgresql";
  const debian = existsSync(versions) ? readdirSync(versions).sort().reverse().map((version) => join(versions, version, "bin")) : [];
  return [...debian, ...(process.env["PATH"] ?? "").split(":")].map((folder) => join(folder, name)).find(existsSync);
}

export class Postgres {
  readonly #folder: string;
  readonly #child: ChildProcess;

  private constructor(folder: string, child: ChildProcess) {
    this.#folder = folder;
    this.#child = child;
  }

  /** Starts one with the empty database `notebook`. Null, with a message, if it is not installed. */
  static async start(): Promise<Postgres | null> {
    const [initdb, postgres, createdb] = ["initdb", "postgres", "createdb"].map(program);
    if (initdb === undefined || postgres === undefined || createdb === undefined) {
      console.log("skipped: PostgreSQL is not installed");
      return null;
    }
    const folder = mkdtempSync(join(tmpdir(), "paster-postgres-"));
    if (isRoot) chownSync(folder, NOBODY, NOBODY);
    const options = { cwd: folder, encoding: "utf8", ...user } as const;
    const made = spawnSync(initdb, ["-D", "data", "-U", "paster", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"], options);
    if (made.status !== 0) throw new Error(made.stderr);
    const child = spawn(postgres, ["-D", "data", "-c", "listen_addresses=", "-k", folder], { cwd: folder, stdio: "ignore", ...user });
    const server = new Postgres(folder, child);
    await waitFor("PostgreSQL makes a database", () => spawnSync(createdb, ["-h", folder, "-U", "paster", "notebook"], options).status === 0);
    return server;
  }

  get url(): string {
    return `postgres:///notebook?host=${this.#folder}&user=paster`;
  }

  async stop(): Promise<void> {
    const ended = new Promise((done) => this.#child.once("exit", done));
    // "Fast shutdown".
    this.#child.kill("SIGINT");
    await ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
