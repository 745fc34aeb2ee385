//! Jupyter Server's REST interface: files, sessions and kernelspecs.

import type { Controls } from "./apps";
import type { JsonObject, Output } from "../protocol";
import { encodePath, url } from "./base";

/** A request that the server refused, or that did not reach it (`status` 0). */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** One file, folder or notebook of `api/contents`. */
export interface Entry {
  name: string;
  path: string;
  type: "notebook" | "file" | "directory";
  last_modified: string;
  size: number | null;
  writable: boolean;
}

/** A running kernel and its notebook. */
export interface Session {
  id: string;
  path: string;
  kernel: { id: string; name: string; execution_state: string };
}

/** A kind of kernel that can be started. */
export interface KernelSpec {
  name: string;
  displayName: string;
  language: string;
}

/** The entries of a folder. */
export async function list(folder: string): Promise<Entry[]> {
  const model = await call<{ content?: Entry[] }>("GET", contents(folder, { content: "1" }));
  return model.content ?? [];
}

/** Asks the address of a notebook's WebSocket whether it would accept a connection. Throws the reason if not. */
export async function documentAddress(path: string): Promise<void> {
  try {
    await call("GET", url("api/documents", path));
  } catch (error) {
    // "Upgrade Required": everything is fine except for the missing upgrade.
    if (!(error instanceof HttpError && error.status === 426)) throw error;
  }
}

/** Creates a notebook or folder. The server chooses its name. */
export function create(folder: string, type: "notebook" | "directory"): Promise<Entry> {
  return call("POST", contents(folder), { type });
}

/** Copies a file within its folder. The server chooses the name. */
export function duplicate(path: string, folder: string): Promise<Entry> {
  return call("POST", contents(folder), { copy_from: path });
}

/** Moves or renames. */
export function rename(from: string, to: string): Promise<Entry> {
  return call("PATCH", contents(from), { path: to });
}

/** Stores a file from the user's machine. A notebook is sent as JSON, so that the server checks it. */
export async function upload(folder: string, file: File): Promise<Entry> {
  const path = folder === "" ? file.name : `${folder}/${file.name}`;
  if (file.name.endsWith(".ipynb")) {
    let content: unknown;
    try {
      content = JSON.parse(await file.text());
    } catch {
      throw new HttpError(400, `${file.name} is not a notebook: it is not JSON`);
    }
    return call("PUT", contents(path), { type: "notebook", format: "json", content });
  }
  return call("PUT", contents(path), { type: "file", format: "base64", content: await base64(file) });
}

/** The running kernels, each with its notebook. */
export function sessions(): Promise<Session[]> {
  return call("GET", url("api/sessions"));
}

/** Ends a session and its kernel. */
export async function shutdown(session: string): Promise<void> {
  await call("DELETE", url("api/sessions", session));
}

/** The kinds of kernel, the default first. */
export async function kernelSpecs(): Promise<KernelSpec[]> {
  type Model = { default: string; kernelspecs: Record<string, { name: string; spec: { display_name: string; language: string } }> };
  const model = await call<Model>("GET", url("api/kernelspecs"));
  return Object.values(model.kernelspecs)
    .map(({ name, spec }) => ({ name, displayName: spec.display_name, language: spec.language }))
    .sort((a, b) => Number(b.name === model.default) - Number(a.name === model.default) || a.displayName.localeCompare(b.displayName));
}

/** A cell of a published notebook. */
export interface PublishedCell {
  cell_type: "code" | "markdown" | "raw";
  source: string;
  attachments?: JsonObject;
  outputs?: Output[];
}

/** A published notebook. */
export interface Published {
  title: string;
  author: string;
  published: string;
  licence: { name: string; address: string } | null;
  ratings: Rating[];
  controls: Controls;
  content: { cells: PublishedCell[]; metadata: JsonObject };
}

/** A reader's rating of a published notebook: 0 to 4 stars. */
export interface Rating {
  name: string;
  stars: number;
  text: string;
  at: string;
}

/** Rates a published notebook, or takes the rating back. */
export async function rate(slug: string, rating: { stars: number; text: string } | null): Promise<Rating[]> {
  const target = url("api/ratings", slug);
  return (await (rating === null ? call<{ ratings: Rating[] }>("DELETE", target) : call<{ ratings: Rating[] }>("PUT", target, rating))).ratings;
}

export function published(slug: string): Promise<Published> {
  return call("GET", url("api/published", slug));
}

/** Where a published notebook can be downloaded. */
export function publishedDownload(slug: string): URL {
  const target = url("api/published", slug);
  target.searchParams.set("download", "1");
  return target;
}

/** Replaces the content of a notebook. */
export async function overwrite(path: string, content: unknown): Promise<void> {
  await call("PUT", contents(path), { type: "notebook", format: "json", content });
}

/** Where a file can be read or downloaded. */
export function fileUrl(path: string, download = false): string {
  const target = url(`files/${encodePath(path)}`);
  if (download) target.searchParams.set("download", "1");
  return target.href;
}

/** Logs this browser out. */
export async function logout(): Promise<void> {
  const xsrf = cookie("_xsrf");
  let response: Response;
  try {
    response = await fetch(url("logout"), { method: "POST", headers: xsrf === null ? {} : { "x-xsrftoken": xsrf }, credentials: "same-origin", redirect: "manual" });
  } catch {
    throw new HttpError(0, "The server does not respond. Is it still running?");
  }
  // Success is a redirect, which `manual` keeps opaque.
  if (!response.ok && response.type !== "opaqueredirect") throw new HttpError(response.status, await reason(response));
}

/** Reads one of the page's own files. */
export async function readText(address: URL): Promise<string> {
  let response: Response;
  try {
    response = await fetch(address, { credentials: "same-origin" });
  } catch {
    throw new HttpError(0, "the server does not answer");
  }
  if (!response.ok) throw new HttpError(response.status, await reason(response));
  return response.text();
}

/** Reads what an address offers as a download, and its name. */
export async function readDownload(address: URL): Promise<{ name: string; content: Blob }> {
  let response: Response;
  try {
    response = await fetch(address, { credentials: "same-origin", redirect: "error" });
  } catch {
    throw new HttpError(0, "The server does not respond. Is it still running?");
  }
  if (!response.ok) throw new HttpError(response.status, await reason(response));
  const name = /filename\*=utf-8''([^;]+)/i.exec(response.headers.get("content-disposition") ?? "")?.[1];
  return { name: decodeURIComponent(name ?? "notebook"), content: await response.blob() };
}

/** A Python environment that the server has found. */
export interface Environment {
  name: string;
  display_name: string;
  has_ipykernel: boolean;
}

/** The Python environments, and whether ipykernel may be installed in them. */
export function environments(): Promise<{ environments: Environment[]; can_install: boolean }> {
  return call("GET", url("api/environments"));
}

/** Installs ipykernel into an environment. Takes as long as that takes. */
export async function installKernel(name: string): Promise<void> {
  await call("POST", url("api/environments/install"), { name });
}

/** Reads a whole file from `files/`, if its type is one of `types` and it has no more than `limit` bytes. */
export async function readFile(address: string, types: RegExp, limit: number): Promise<{ type: string; data: ArrayBuffer }> {
  const response = await fetch(address, { credentials: "same-origin", redirect: "error" });
  const refuse = async (status: number, message: string): Promise<never> => {
    await response.body?.cancel();
    throw new HttpError(status, message);
  };
  if (!response.ok) await refuse(response.status, response.status === 404 ? "there is no such file" : `the server returned ${response.status}`);
  const type = response.headers.get("content-type") ?? "";
  if (!types.test(type)) await refuse(415, "this type of file cannot be shown here");
  const size = response.headers.get("content-length");
  if (size === null || !(Number(size) <= limit)) await refuse(413, "too large to be shown here");
  return { type, data: await response.arrayBuffer() };
}

function contents(path: string, query: Record<string, string> = {}): URL {
  const target = url("api/contents", path);
  for (const [name, value] of Object.entries(query)) target.searchParams.set(name, value);
  return target;
}

/** Calls the server with JSON. Throws [HttpError]. */
export async function call<T>(method: string, target: URL, body?: unknown): Promise<T> {
  const headers = new Headers({ accept: "application/json" });
  if (body !== undefined) headers.set("content-type", "application/json");
  const xsrf = cookie("_xsrf");
  if (xsrf !== null && method !== "GET") headers.set("x-xsrftoken", xsrf);
  let response: Response;
  try {
    response = await fetch(target, { method, headers, credentials: "same-origin", redirect: "manual", ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  } catch {
    throw new HttpError(0, "The server does not respond. Is it still running?");
  }
  if (response.type === "opaqueredirect") throw new HttpError(401, "You are no longer logged in.");
  if (!response.ok) throw new HttpError(response.status, await reason(response));
  if (response.status === 204) return undefined as T;
  // The server guarantees the shape (Jupyter's REST interface).
  return (await response.json()) as T;
}

async function reason(response: Response): Promise<string> {
  const text = await response.text().catch(() => "");
  try {
    const model = JSON.parse(text) as { message?: unknown };
    if (typeof model.message === "string" && model.message !== "") return model.message;
  } catch {
    // Not JSON, for example a proxy's error page.
  }
  return `The server returned ${response.status} ${response.statusText}`.trim();
}

function cookie(name: string): string | null {
  for (const part of document.cookie.split("; ")) {
    const equals = part.indexOf("=");
    if (part.slice(0, equals) === name) return decodeURIComponent(part.slice(equals + 1));
  }
  return null;
}

function base64(file: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onerror = () => reject(reader.error ?? new Error("the file could not be read"));
    reader.onload = () => {
      const text = String(reader.result);
      resolve(text.slice(text.indexOf(",") + 1));
    };
    reader.readAsDataURL(file);
  });
}
