// Refreshes the page once a new generation of the application serves or a file of the page changes, and shows why a
// generation does not start.
(() => {
  "use strict";
  // A frame is refreshed together with the page that contains it.
  if (window.pasterLive || window !== window.top) return;
  window.pasterLive = true;
  const mine = new URL(document.currentScript.src).searchParams.get("g");
  let box = null;

  const describe = (fault) => {
    const lines = [];
    if (fault.output) lines.push(fault.output, "");
    lines.push("error: " + fault.message);
    if (fault.origin) {
      const place = fault.origin.source.file ?? Object.values(fault.origin.source)[0] ?? "";
      lines.push("  at " + place + (fault.origin.line ? ":" + fault.origin.line + ":" + fault.origin.column : ""));
      if (fault.origin.text) lines.push("     " + fault.origin.text);
    }
    for (const cause of fault.causes ?? []) lines.push("  caused by: " + cause);
    for (const help of fault.helps ?? []) lines.push("  help: " + help);
    return lines.join("\n");
  };

  const hide = () => {
    box?.remove();
    box = null;
  };

  const show = (text) => {
    hide();
    box = document.createElement("div");
    box.id = "paster-overlay";
    box.setAttribute("role", "alert");
    Object.assign(box.style, {
      position: "fixed", inset: "0", zIndex: "2147483647", overflow: "auto", padding: "1.5rem",
      background: "rgba(20, 20, 24, 0.96)", color: "#f2f2f2", font: "14px/1.5 ui-monospace, monospace",
    });
    const close = document.createElement("button");
    close.textContent = "Close";
    close.style.float = "right";
    close.addEventListener("click", hide);
    const pre = document.createElement("pre");
    pre.style.whiteSpace = "pre-wrap";
    pre.style.margin = "0";
    pre.textContent = text;
    box.append(close, pre);
    document.documentElement.append(box);
  };

  const hear = (event) => {
    const told = JSON.parse(event.data);
    if (told.generation !== mine) {
      source.close();
      location.reload();
    } else if (told.status === "failed") {
      show(told.errors.map(describe).join("\n\n"));
    } else if (told.status === "serving") {
      hide();
    }
  };

  // Browsers allow six connections per site, over all its pages: a hidden page keeps none. Its first event then tells it
  // what it has missed.
  let source = null;
  const listen = () => {
    source?.close();
    source = null;
    if (document.hidden) return;
    source = new EventSource("/.paster/events");
    source.onmessage = hear;
  };
  document.addEventListener("visibilitychange", listen);
  listen();
})();
