//! Starts the page for the address.

import "katex/dist/katex.css";
import "./app.css";
import "./editing.css";
import "@xterm/xterm/css/xterm.css";
import "./files.css";
import { applyToPage } from "./state/settings";
import { base, place } from "./transport/base";
import { FilePage } from "./ui/file";
import { ListPage } from "./ui/list";
import { PublishedPage } from "./ui/published";
import { NotebookPage } from "./ui/notebook";

applyToPage();
const here = place(new URL(location.href), base());
if (here.page === "notebook") {
  document.body.className = "notebook-page";
  new NotebookPage(here.path).open(document.body);
} else if (here.page === "published") {
  document.body.className = "list-page";
  new PublishedPage(here.slug).open(document.body);
} else if (here.page === "file") {
  document.body.className = "file-page";
  new FilePage(here.path).open(document.body);
} else if (here.page === "terminal") {
  document.body.className = "terminal-page";
  void import("./ui/terminal").then(({ TerminalPage }) => new TerminalPage(here.name).open(document.body));
} else {
  document.body.className = "list-page";
  new ListPage(here.folder).open(document.body);
}
