//! Starts the page for the address.

import "katex/dist/katex.css";
import "./app.css";
import "./editing.css";
import "@xterm/xterm/css/xterm.css";
import "./files.css";
import { applyToPage } from "./state/settings";
import { AppPage } from "./ui/app";
import { FilePage } from "./ui/file";
import "./team.css";
import { base, place } from "./transport/base";
import { HistoryPage } from "./ui/history";
import { InboxPage } from "./ui/inbox";
import { LibraryPage } from "./ui/library";
import { ListPage } from "./ui/list";
import { PublishedPage } from "./ui/published";
import { NotebookPage } from "./ui/notebook";
import { RunningPage } from "./ui/running";
import { ScheduledRunPage } from "./ui/scheduled-run";

applyToPage();
const here = place(new URL(location.href), base());
if (here.page === "notebook") {
  document.body.className = "notebook-page";
  new NotebookPage(here.path).open(document.body);
} else if (here.page === "app") {
  document.body.className = "list-page";
  new AppPage(here.path).open(document.body);
} else if (here.page === "published") {
  document.body.className = "list-page";
  new PublishedPage(here.slug).open(document.body);
} else if (here.page === "run") {
  document.body.className = "list-page";
  new ScheduledRunPage(here.id).open(document.body);
} else if (here.page === "file") {
  document.body.className = "file-page";
  new FilePage(here.path).open(document.body);
} else if (here.page === "terminal") {
  document.body.className = "terminal-page";
  void import("./ui/terminal").then(({ TerminalPage }) => new TerminalPage(here.name).open(document.body));
} else if (here.page === "history") {
  document.body.className = "list-page";
  new HistoryPage(here.path).open(document.body);
} else if (here.page === "library" || here.page === "inbox" || here.page === "running") {
  document.body.className = "list-page";
  (here.page === "library" ? new LibraryPage() : here.page === "running" ? new RunningPage() : new InboxPage()).open(document.body);
} else {
  document.body.className = "list-page";
  new ListPage(here.folder).open(document.body);
}
