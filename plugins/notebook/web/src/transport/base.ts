//! Where the notebook is mounted: the server writes it into `<html data-base>`.

/** The mount prefix as a URL that ends in `/`. */
export function base(): URL {
  return new URL(document.documentElement.dataset["base"] ?? "/", document.baseURI);
}

/** `a b/c#d` as part of a URL: every name is encoded, and the slashes stay. */
export function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/** The URL of `route` below the mount prefix. `path`, if given, is encoded and appended. */
export function url(route: string, path?: string): URL {
  if (path === undefined) return new URL(route, base());
  return new URL(path === "" ? route : `${route}/${encodePath(path)}`, base());
}

/** Which page the address is for. */
export type Place =
  | { page: "list"; folder: string }
  | { page: "notebook"; path: string }
  | { page: "app"; path: string }
  | { page: "file"; path: string }
  | { page: "history"; path: string }
  | { page: "published"; slug: string }
  | { page: "run"; id: string }
  | { page: "terminal"; name: string }
  | { page: "library" }
  | { page: "running" }
  | { page: "inbox" };

/** Parses a page's address. */
export function place(location: URL, prefix: URL): Place {
  let rest = location.pathname;
  if (rest.startsWith(prefix.pathname)) rest = rest.slice(prefix.pathname.length);
  const names = rest.split("/").filter((name) => name !== "").map(decode);
  const first = names.shift();
  if (first === "notebooks" && names.length > 0) return { page: "notebook", path: names.join("/") };
  if (first === "app" && names.length > 0) return { page: "app", path: names.join("/") };
  if (first === "edit" && names.length > 0) return { page: "file", path: names.join("/") };
  if (first === "terminals" && names[0] !== undefined) return { page: "terminal", name: names[0] };
  if (first === "history" && names.length > 0) return { page: "history", path: names.join("/") };
  if (first === "library" || first === "inbox" || first === "running") return { page: first };
  if (first === "scheduled-runs" && names[0] !== undefined) return { page: "run", id: names[0] };
  if (first === "pub" && names[0] !== undefined) return { page: "published", slug: names[0] };
  return { page: "list", folder: first === "tree" ? names.join("/") : "" };
}

/** The last name of a path. */
export function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** The folder of a path, "" for the top. */
export function folderOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

/** `folder` and `name` as one path. */
export function join(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
