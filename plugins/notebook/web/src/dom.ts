//! Creates elements. Text stays text: nothing here parses HTML.

type Child = Node | string | null | undefined | false;
type Props = { [name: string]: string | number | boolean | null | undefined | ((event: never) => void) };

/** An element with attributes, listeners (`onclick: …`) and children. An attribute that is `false` or `null` is omitted. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

/** Replaces all children. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

function append(element: Element, children: Child[]): void {
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child);
}

const ICONS = {
  run: "M7 4.5v15l12-7.5z",
  runAll: "M3 5v14l9-7zM12 5v14l9-7z",
  stop: "M6 6h12v12H6z",
  restart: "M5 12a7 7 0 1 0 2.2-5.1M7 3v4h4",
  add: "M12 5v14M5 12h14",
  right: "M9 5l7 7-7 7",
  left: "M15 5l-7 7 7 7",
  below: "M5 9l7 7 7-7",
  list: "M4 6h.01M4 12h.01M4 18h.01M8.5 6H20M8.5 12H20M8.5 18H20",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  trash: "M4 7h16M9 7V4.5h6V7M6.5 7l1 13h9l1-13M10 11v5M14 11v5",
  more: "M3.5 12a1.8 1.8 0 1 1 3.6 0a1.8 1.8 0 1 1-3.6 0zM10.2 12a1.8 1.8 0 1 1 3.6 0a1.8 1.8 0 1 1-3.6 0zM16.9 12a1.8 1.8 0 1 1 3.6 0a1.8 1.8 0 1 1-3.6 0z",
  help: "M9 9a3 3 0 1 1 4.6 2.5c-1 .7-1.6 1.2-1.6 2.5M12 17.5h.01",
  notebook: "M6 3h11a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H6zM9 3v18M12.5 8h3.5M12.5 12h3.5",
  folder: "M3 6.5a1.5 1.5 0 0 1 1.5-1.5h5l2 2.5h8a1.5 1.5 0 0 1 1.5 1.5v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 18z",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  upload: "M12 16V4M7 9l5-5 5 5M4 17v3h16v-3",
  search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM16 16l4.5 4.5",
  close: "M6 6l12 12M18 6L6 18",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5z",
  stepOver: "M4 13a8 8 0 0 1 15-3M19.5 4.5V10H14M12 17.5h.01",
  stepIn: "M12 3.5V14M7 9.5l5 5 5-5M12 19.5h.01",
  stepOut: "M12 14.5V4M7 8.5l5-5 5 5M12 19.5h.01",
  edit: "M4 20l1-4.5L16.5 4l3.5 3.5L8.5 19z",
} as const;

export type IconName = keyof typeof ICONS;
const FILLED: ReadonlySet<string> = new Set<IconName>(["run", "runAll", "stop", "more"]);

/** A small drawing, hidden from screen readers, because the button's label describes it. */
export function icon(name: IconName): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", FILLED.has(name) ? "icon filled" : "icon");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon. Its label is read aloud and shown as a tooltip; `text` is shown beside the icon. */
export function button(label: string, onclick: () => void, options: { icon?: IconName; text?: boolean | string; keys?: string; class?: string } = {}): HTMLButtonElement {
  const { text, keys } = options;
  const title = keys === undefined ? label : `${label} (${keys})`;
  return h(
    "button",
    { type: "button", class: options.class ?? (options.icon !== undefined && text === undefined ? "icon-button" : "button"), title, "aria-label": text === true || text === undefined ? label : null, onclick },
    options.icon !== undefined && icon(options.icon),
    text === true ? h("span", {}, label) : typeof text === "string" ? h("span", {}, text) : options.icon === undefined && label,
  );
}

/** "just now", "5 minutes ago", "3 March 2026". */
export function ago(time: string | number, now = Date.now()): string {
  const date = new Date(time);
  const seconds = Math.round((now - date.getTime()) / 1000);
  if (Number.isNaN(seconds)) return "";
  if (seconds < 45) return "just now";
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  if (seconds < 3600) return relative.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86_400) return relative.format(-Math.round(seconds / 3600), "hour");
  if (seconds < 7 * 86_400) return relative.format(-Math.round(seconds / 86_400), "day");
  return new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" }).format(date);
}

/** 950 ms, 1.2 s, 2 min 5 s. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** 512 B, 3.4 KB, 1.2 MB. */
export function bytes(size: number): string {
  if (size < 1000) return `${size} B`;
  for (const unit of ["KB", "MB", "GB"]) {
    size /= 1000;
    if (size < 1000 || unit === "GB") return `${size.toFixed(size < 10 ? 1 : 0)} ${unit}`;
  }
  return "";
}
