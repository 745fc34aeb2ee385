//! Links from one place in a notebook to one of its headings.

/** Goes to a heading of the notebook. Sanitizing changes the ids of headings, so a plain `#…` would not find them. */
export function followAnchor(event: MouseEvent): void {
  const link = event.target instanceof Element ? event.target.closest<HTMLElement>("a[data-anchor]") : null;
  if (link === null) return;
  event.preventDefault();
  const wanted = slug(link.dataset["anchor"] ?? "");
  for (const heading of document.querySelectorAll(".markdown :is(h1, h2, h3, h4, h5, h6), .markdown [id]")) {
    if (slug(heading.textContent ?? "") === wanted || heading.id === `user-content-${link.dataset["anchor"]}`) {
      heading.scrollIntoView({ block: "start" });
      return;
    }
  }
}

function slug(text: string): string {
  return text.trim().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
}
