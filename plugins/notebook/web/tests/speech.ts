//! What a screen reader has to say about a page, from the browser's accessibility tree.

import type { CDPSession, Page } from "playwright-core";

interface Value {
  value?: unknown;
}

interface Node {
  nodeId: string;
  parentId?: string;
  childIds?: string[];
  ignored: boolean;
  role?: Value;
  name?: Value;
  value?: Value;
  properties?: { name: string; value: Value }[];
}

export class ScreenReader {
  readonly #session: CDPSession;

  private constructor(session: CDPSession) {
    this.#session = session;
  }

  static async of(page: Page): Promise<ScreenReader> {
    const session = await page.context().newCDPSession(page);
    await session.send("Accessibility.enable");
    return new ScreenReader(session);
  }

  /** The role and the name of the element with the focus; "" if it is the page itself. */
  async focus(): Promise<string> {
    const nodes = await this.#tree();
    const node = nodes.find((one) => has(one, "focused", true) && text(one.role) !== "RootWebArea");
    if (node === undefined) return "";
    const active = node.properties?.find(({ name }) => name === "activedescendant")?.value as { relatedNodes?: { backendDOMNodeId: number }[] } | undefined;
    const option = nodes.find((one) => (one as { backendDOMNodeId?: number }).backendDOMNodeId === active?.relatedNodes?.[0]?.backendDOMNodeId);
    return `${text(node.role)} "${text(node.name)}"${active === undefined || option === undefined ? "" : `, ${text(option.role)} "${text(option.name)}"`}`;
  }

  /** The texts of the live regions: what is announced without moving the focus. */
  async announced(): Promise<string[]> {
    const nodes = await this.#tree();
    const regions = nodes.filter((one) => has(one, "live", "polite") || has(one, "live", "assertive"));
    // A node within a region is one too.
    const inner = new Set(regions.flatMap((one) => one.childIds ?? []));
    return regions.filter(({ nodeId }) => !inner.has(nodeId)).map((one) => words(nodes, one)).filter((said) => said !== "");
  }

  /** Everything that is read in the element with this role and name, from its start to its end. */
  async read(role: string, name: string): Promise<string> {
    const nodes = await this.#tree();
    const node = nodes.find((one) => text(one.role) === role && text(one.name) === name);
    return node === undefined ? "" : words(nodes, node);
  }

  async #tree(): Promise<Node[]> {
    return ((await this.#session.send("Accessibility.getFullAXTree")) as unknown as { nodes: Node[] }).nodes;
  }
}

function text(value: Value | undefined): string {
  return typeof value?.value === "string" ? value.value : "";
}

function has(node: Node, property: string, value: unknown): boolean {
  return node.properties?.some((one) => one.name === property && one.value.value === value) ?? false;
}

/** The texts and names below a node, in order. */
function words(nodes: readonly Node[], top: Node): string {
  const byId = new Map(nodes.map((node) => [node.nodeId, node]));
  const said: string[] = [];
  const visit = (node: Node | undefined): void => {
    if (node === undefined) return;
    const role = text(node.role);
    if (!node.ignored && role === "StaticText") return void said.push(text(node.name));
    const before = said.length;
    for (const id of node.childIds ?? []) visit(byId.get(id));
    if (!node.ignored && said.length === before && node !== top && text(node.name) !== "") said.push(text(node.name));
  };
  visit(top);
  return said.join(" ").replace(/\s+/g, " ").trim();
}
