//! A fake server inside the browser driver, for what a real one does not do on demand: lost connections, conflicts, hostile names.
//! Serves dist/ with the policy headers of the real one.

import { readFile } from "node:fs/promises";
import type { BrowserContext, Page, WebSocketRoute } from "playwright-core";
import type { Cell, Change, Document, Operation, Reply, Request, ServerFrame } from "../src/protocol";

export const ORIGIN = "http://notebook.test";
/** The mount prefix of the fake. */
export const PREFIX = "/lab one/".replace(" ", "%20");

const DIST = new URL("../../dist/", import.meta.url);
const TYPES: Record<string, string> = { js: "text/javascript", css: "text/css", html: "text/html", svg: "image/svg+xml", woff2: "font/woff2" };
/** The real server's policies for its pages and for the frame, read from its source. */
async function served(): Promise<{ page: string; frame: string }> {
  const source = async (name: string) => readFile(new URL(`../../../src/http/${name}`, import.meta.url), "utf8");
  const text = (from: string, name: string): string => {
    const found = new RegExp(`const ${name}: &str = "([\\s\\S]*?)";`).exec(from)?.[1]?.replace(/\\\n\s*/g, "");
    if (found === undefined) throw new Error(`${name} is not in the server's source`);
    return found;
  };
  const [assets, guard] = await Promise.all([source("assets.rs"), source("guard.rs")]);
  return { page: text(guard, "PAGE_POLICY"), frame: text(assets, "FRAME_POLICY") };
}

export function cell(id: string, part: Partial<Cell> = {}): Cell {
  return { id, cell_type: "code", source: "", revision: 1, metadata: {}, attachments: null, outputs: [], execution_count: null, state: "idle", ...part };
}

export function notebook(cells: Cell[], part: Partial<Document> = {}): Document {
  return {
    path: "a.ipynb",
    cells,
    metadata: {},
    kernel: { id: "k", name: "python3", display_name: "Python 3", language: "python", state: "idle", message: null, debugger: false },
    unsaved: false,
    conflict: false,
    last_modified: new Date().toISOString(),
    input: null,
    writable: true,
    ...part,
  };
}

export interface FakeEntry {
  name: string;
  type?: string;
  last_modified?: string;
  size?: number | null;
}

/** What the fake serves, and what it was sent. */
export class Fake {
  document: Document = notebook([]);
  entries: FakeEntry[] = [];
  sessions: unknown[] = [];
  requests: Request[] = [];
  connections: URL[] = [];
  calls: { method: string; path: string; body: unknown }[] = [];
  /** While set, connections are refused. */
  down = false;
  /** The files below `files/`: type and content. */
  files: Record<string, { type: string; body: string | Buffer }> = {};
  /** Text files: content and when it was changed. */
  texts: Record<string, { content: string; last_modified: string }> = {};
  /** Logging out is refused. */
  noLogout = false;
  /** The XSRF value that came with the last logout. */
  xsrf: string | null = null;
  /** WebSockets are refused; everything else is answered. */
  noSockets = false;
  /** The reason why the document cannot be opened. */
  refusal: { code: number; message: string } | null = null;
  /** Answers to other requests for JSON: `GET api/inbox`. */
  answers: Record<string, unknown> = {};
  /** Answers requests. If it returns nothing, the usual `done` is sent. */
  answer: (op: Operation) => Reply | null | "silence" = () => null;
  event = 10;
  #socket: WebSocketRoute | null = null;

  async install(context: BrowserContext): Promise<void> {
    const { page, frame } = await served();
    await context.route(`${ORIGIN}/**`, async (route) => {
      const address = new URL(route.request().url());
      const path = decodeURIComponent(address.pathname).slice(decodeURIComponent(PREFIX).length);
      if (this.down) return route.abort("connectionrefused");
      const file = path.startsWith("static/") ? path.slice(7) : /^(?:$|tree|notebooks|edit|terminals|library|running|history|inbox)/.test(path) ? "index.html" : null;
      if (file !== null) {
        const body = await readFile(new URL(file, DIST));
        const policy = file === "index.html" ? page : file === "frame.html" ? frame : "";
        const headers = { "content-type": TYPES[file.split(".").at(-1) ?? ""] ?? "text/plain", ...(policy === "" ? {} : { "content-security-policy": policy }) };
        return route.fulfill({ body: file === "index.html" ? body.toString().replaceAll("{{base}}", PREFIX) : body, headers });
      }
      const stored = path.startsWith("files/") ? this.files[path.slice(6)] : undefined;
      if (stored !== undefined) return route.fulfill({ contentType: stored.type, body: stored.body, headers: { "content-length": String(Buffer.byteLength(stored.body)) } });
      const method = route.request().method();
      if (path === "logout" && method === "GET") return route.fulfill({ contentType: "text/html", body: "<h1>Logged out</h1>" });
      const body: unknown = route.request().postDataJSON();
      this.calls.push({ method, path, body });
      const entry = (one: FakeEntry) => ({ last_modified: "2026-01-02T03:04:05Z", size: 1234, type: "notebook", writable: true, ...one, path: one.name });
      if (path.startsWith("api/documents/")) return route.fulfill({ status: 426, json: { message: "this address is a WebSocket" } });
      const said = this.answers[`${method} ${path}`] ?? (path.startsWith("api/comments/") ? { threads: [] } : undefined);
      if (said !== undefined) return route.fulfill({ json: said });
      if (path === "logout") {
        this.xsrf = route.request().headers()["x-xsrftoken"] ?? null;
        return route.fulfill(this.noLogout ? { status: 403, json: { message: "the `_xsrf` value does not match" } } : { status: 303, headers: { location: `${PREFIX}logout` } });
      }
      if (path === "api/environments" && said === undefined) return route.fulfill({ json: { environments: [], can_install: false } });
      if (path === "api/sessions") return route.fulfill({ json: this.sessions });
      if (path === "api/kernelspecs") return route.fulfill({ json: { default: "python3", kernelspecs: { python3: { name: "python3", spec: { display_name: "Python 3", language: "python" } } } } });
      const text = path.startsWith("api/contents/") ? this.texts[path.slice("api/contents/".length)] : undefined;
      if (text !== undefined) {
        if (method === "PUT") Object.assign(text, { content: (body as { content: string }).content, last_modified: new Date().toISOString() });
        const model = { name: path, path, type: "file", format: "text", mimetype: "text/plain", writable: true, ...text };
        return route.fulfill({ json: address.searchParams.get("content") === "0" ? { ...model, content: null } : model });
      }
      if (path.startsWith("api/contents")) {
        if (method === "GET") return route.fulfill({ json: { content: this.entries.map(entry) } });
        return route.fulfill({ status: method === "DELETE" ? 204 : 200, ...(method === "DELETE" ? {} : { json: entry({ name: "made" }) }) });
      }
      return route.fulfill({ status: 404, json: { message: "no such thing" } });
    });
    await context.routeWebSocket(/\/api\/documents\//, (socket) => {
      this.connections.push(new URL(socket.url()));
      if (this.down || this.noSockets) return void socket.close();
      if (this.refusal !== null) {
        socket.send(JSON.stringify({ type: "error", ...this.refusal } satisfies ServerFrame));
        return void socket.close({ code: 4000 + this.refusal.code });
      }
      this.#socket = socket;
      socket.onMessage((text) => this.#receive(JSON.parse(String(text)) as Request));
      const asked = new URL(socket.url()).searchParams;
      if (asked.get("instance") === "one") this.send({ type: "resumed", instance: "one", event: Number(asked.get("after")), last: this.event });
      else this.send({ type: "opened", level: "manage", instance: "one", event: this.event, document: structuredClone(this.document) });
    });
  }

  send(frame: ServerFrame): void {
    this.#socket?.send(JSON.stringify(frame));
  }

  change(change: Change, request: number | null = null): void {
    this.event += 1;
    this.send({ type: "changed", event: this.event, author: null, request, change });
  }

  /** Ends the connection. */
  cut(): void {
    void this.#socket?.close({ code: 3001 });
    this.#socket = null;
  }

  asked(type: Operation["type"]): Operation[] {
    return this.requests.filter(({ op }) => op.type === type).map(({ op }) => op);
  }

  #receive({ id, op }: Request): void {
    this.requests.push({ id, op });
    const said = this.answer(op);
    if (said === "silence") return;
    if (said !== null) return this.send({ type: "reply", id, reply: said });
    const { cells } = this.document;
    if (op.type === "set_source") {
      const one = cells.find((c) => c.id === op.cell_id);
      if (one === undefined) return this.send({ type: "failed", id, message: "no such cell" });
      if (op.base_revision !== one.revision && op.source !== one.source) return this.send({ type: "reply", id, reply: { type: "stale", source: one.source, revision: one.revision } });
      one.source = op.source;
      one.revision += 1;
      this.change({ type: "source_changed", cell_id: one.id, source: one.source, revision: one.revision, changes: null }, id);
      return this.send({ type: "reply", id, reply: { type: "edited", revision: one.revision } });
    }
    if (op.type === "insert_cell") {
      const made = cell(op.cell_id ?? "new", { cell_type: op.cell_type, source: op.source, attachments: op.attachments ?? null });
      cells.splice(op.index, 0, made);
      this.change({ type: "cell_inserted", index: op.index, cell: structuredClone(made) }, id);
      return this.send({ type: "reply", id, reply: { type: "inserted", cell_id: made.id } });
    }
    if (op.type === "delete_cell") {
      this.document.cells = cells.filter((c) => c.id !== op.cell_id);
      this.change({ type: "cell_deleted", cell_id: op.cell_id }, id);
    }
    if (op.type === "set_cell_attachments") {
      const one = cells.find((c) => c.id === op.cell_id);
      if (one !== undefined) one.attachments = op.attachments;
    }
    if (op.type === "set_cell_type") {
      const one = cells.find((c) => c.id === op.cell_id);
      if (one !== undefined) {
        one.cell_type = op.cell_type;
        this.change({ type: "cell_replaced", cell: structuredClone(one) }, id);
      }
    }
    this.send({ type: "reply", id, reply: { type: "done" } });
  }

  /** Opens the notebook in a new page. */
  async open(context: BrowserContext, path = "notebooks/a.ipynb"): Promise<Page> {
    const page = await context.newPage();
    await page.goto(`${ORIGIN}${PREFIX}${path}`);
    return page;
  }
}
