//! Lists of notebooks, the trash, histories, comments and the inbox.

import type { CellType, JsonObject, Level } from "../protocol";
import { url } from "./base";
import { call } from "./rest";

/** A notebook in a list. */
export interface Listed {
  path: string;
  name: string;
  last_modified: string;
  size: number;
  level: Level;
  starred: boolean;
  archived: boolean;
  tags: string[];
  /** The name of its public page. */
  published: string | null;
  /** The part that a search found. */
  snippet: { text: string; match: boolean }[];
}

export type View = "mine" | "shared" | "published" | "starred" | "archived";
export type Order = "name" | "modified" | "size" | "relevance";

export interface NotebookList {
  notebooks: Listed[];
  tags: { name: string; count: number }[];
  /** False while the index is being made. */
  complete: boolean;
}

/** The notebooks of a view that contain what is searched for. */
export function notebooks(view: View, words: string, tag: string | null, sort: Order, down: boolean): Promise<NotebookList> {
  const target = url("api/notebooks");
  target.searchParams.set("view", view);
  if (words.trim() !== "") target.searchParams.set("q", words);
  if (tag !== null) target.searchParams.set("tag", tag);
  target.searchParams.set("sort", sort);
  target.searchParams.set("order", down ? "desc" : "asc");
  return call("GET", target);
}

/** Changes what the user notes about a notebook. */
export function mark(path: string, change: { starred?: boolean; archived?: boolean; tags?: string[] }): Promise<Listed> {
  return call("PATCH", url("api/notebooks", path), change);
}

/** Something in the trash. */
export interface Trashed {
  id: string;
  path: string;
  deleted_by: string;
  deleted: string;
  /** When it is deleted for good. */
  ends: string | null;
}

export async function trash(): Promise<Trashed[]> {
  return (await call<{ entries: Trashed[] }>("GET", url("api/trash"))).entries;
}

/** Moves a file or folder to the trash. */
export function toTrash(path: string): Promise<Trashed> {
  return call("POST", url("api/trash"), { path });
}

/** Returns where it is now. */
export async function restoreFromTrash(id: string): Promise<string> {
  return (await call<{ path: string }>("POST", url("api/trash", id))).path;
}

/** Deletes one entry for good, or all. */
export async function deleteTrash(id: string | null): Promise<void> {
  await call("DELETE", id === null ? url("api/trash") : url("api/trash", id));
}

/** Makes a notebook of a file of another program, or unpacks an archive. Returns what was made, the first of it first. */
export async function importFile(path: string): Promise<string[]> {
  return (await call<{ created: string[] }>("POST", url("api/import"), { path })).created;
}

/** Where a notebook can be downloaded in another format, or a folder as an archive. */
export function exportUrl(path: string, format: "txt" | "py" | "md" | "sws" | "zip"): string {
  const target = url("api/export", path);
  target.searchParams.set("format", format);
  return target.href;
}

/** A moment in a history. */
export interface Moment {
  point: string;
  at: string;
  author: string;
  kind: "edit" | "disk" | "revision" | "start";
  /** The name of a revision. */
  name: string;
  action: string | null;
  cell: string | null;
}

export interface PastCell {
  id?: string;
  cell_type: CellType;
  source: string;
  attachments?: JsonObject;
}

export function history(path: string): Promise<{ entries: Moment[]; newest: string }> {
  return call("GET", url("api/history", path));
}

/** The cells at a moment. */
export async function pastCells(path: string, point: string): Promise<PastCell[]> {
  const target = url("api/history", path);
  target.searchParams.set("point", point);
  return (await call<{ content: { cells: PastCell[] } }>("GET", target)).content.cells;
}

export async function restore(path: string, point: string): Promise<void> {
  await call("POST", url("api/history", path), { restore: { point } });
}

export async function nameRevision(path: string, name: string, point: string): Promise<void> {
  await call("POST", url("api/history", path), { name: { name, point } });
}

export async function removeRevision(path: string, point: string): Promise<void> {
  await call("POST", url("api/history", path), { unname: { point } });
}

/** Erases a text from a notebook, its outputs and its history. */
export function erase(path: string, text: string): Promise<{ erased_in_file: number; erased_in_history: number; kernel_runs: boolean }> {
  return call("POST", url("api/history", path), { erase: { text } });
}

export interface Comment {
  id: number;
  author: string;
  at: string;
  edited: string | null;
  text: string;
}

export interface Thread {
  id: number;
  /** Empty: the whole notebook. */
  cell: string;
  quote: string;
  resolved: { at: string; by: string } | null;
  comments: Comment[];
}

export async function threads(path: string): Promise<Thread[]> {
  return (await call<{ threads: Thread[] }>("GET", url("api/comments", path))).threads;
}

type CommentChange = { text: string; cell: string; quote: string } | { thread: number; text: string } | { thread: number; resolved: boolean } | { comment: number; text: string };

/** Begins a thread, replies, resolves, or edits. */
export async function changeComments(path: string, change: CommentChange): Promise<Thread[]> {
  return (await call<{ threads: Thread[] }>("POST", url("api/comments", path), change)).threads;
}

export async function deleteComment(path: string, comment: number): Promise<void> {
  const target = url("api/comments", path);
  target.searchParams.set("comment", String(comment));
  await call("DELETE", target);
}

/** The login names that can be mentioned. */
export async function people(path: string): Promise<string[]> {
  return (await call<{ people: string[] }>("GET", url("api/people", path))).people;
}

export interface Notice {
  id: number;
  at: string;
  kind: "mention" | "reply" | "comment" | "offer" | "request" | "granted" | "run";
  author: string;
  path: string;
  thread: number | null;
  text: string;
  read: boolean;
}

export function inbox(): Promise<{ notices: Notice[]; unread: number }> {
  return call("GET", url("api/inbox"));
}

/** Marks one notice as read, or all. */
export async function markRead(notice: number | null): Promise<void> {
  await call("POST", url("api/inbox"), notice === null ? {} : { read: notice });
}
