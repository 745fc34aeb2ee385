//! A message of 95 MB, with the real program: the worker and the kernel host give the memory back while the connection stays open.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, waitFor } from "./wait";

const CHARS = 95_000_000;

let browser: Browser;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

type Process = "worker" | "kernel host";

/** The memory of a process, in MB. Both are processes that have loaded the plugin. */
function memory(wanted: Process): number {
  for (const name of readdirSync("/proc").filter((one) => /^\d+$/.test(one))) {
    try {
      const status = readFileSync(`/proc/${name}/status`, "utf8");
      if (!new RegExp(`^PPid:\\s${server.pid}$`, "m").test(status)) continue;
      if (!/libnotebook|\/notebook-/.test(readFileSync(`/proc/${name}/maps`, "utf8"))) continue;
      const isHost = /__side/.test(readFileSync(`/proc/${name}/cmdline`, "utf8"));
      if (isHost !== (wanted === "kernel host")) continue;
      return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1000;
    } catch {
      // It has ended.
    }
  }
  return assert.fail(`there is no ${wanted}`);
}

test("after a message of 95 MB, the worker and the kernel host have as much memory as before", async (context) => {
  const own = await browser.newContext();
  own.setDefaultTimeout(PATIENCE_MS);
  const page = await own.newPage();
  await page.goto(`${server.url}?token=${TOKEN}`);
  const kernel = await page.evaluate(async () => {
    const xsrf = /_xsrf=([^;]+)/.exec(document.cookie)?.[1] ?? "";
    const made = await fetch("api/kernels", { method: "POST", headers: { "x-xsrftoken": xsrf } });
    return ((await made.json()) as { id: string }).id;
  });
  /** Runs code in the kernel. Returns the number of characters that it printed. The connection stays open. */
  const run = (code: string): Promise<number> =>
    page.evaluate(async ({ kernel, code }) => {
      const state = window as unknown as { socket?: WebSocket };
      state.socket ??= new WebSocket(new URL(`api/kernels/${kernel}/channels?session_id=s`, location.href.replace(/^http/, "ws")));
      const socket = state.socket;
      if (socket.readyState !== WebSocket.OPEN) await new Promise((open) => (socket.onopen = open));
      const id = crypto.randomUUID();
      const done = new Promise<number>((resolve) => {
        let printed = 0;
        socket.onmessage = ({ data }: MessageEvent<string>) => {
          const message = JSON.parse(data) as { msg_type: string; parent_header: { msg_id?: string }; content: { text?: string; execution_state?: string } };
          if (message.parent_header.msg_id !== id) return;
          if (message.msg_type === "stream") printed += message.content.text?.length ?? 0;
          if (message.msg_type === "status" && message.content.execution_state === "idle") resolve(printed);
        };
      });
      const header = { msg_id: id, msg_type: "execute_request", session: "s", username: "", version: "5.3", date: new Date().toISOString() };
      socket.send(JSON.stringify({ channel: "shell", header, parent_header: {}, metadata: {}, content: { code, silent: false, store_history: true, user_expressions: {}, allow_stdin: false, stop_on_error: true } }));
      return done;
    }, { kernel, code });
  assert.equal(await run("print('ready')"), 6);
  const processes: Process[] = ["worker", "kernel host"];
  const before = processes.map(memory);
  assert.equal(await run(`import sys; sys.stdout.write('x' * ${CHARS}); sys.stdout.flush()`), CHARS);
  for (const [at, process] of processes.entries()) {
    const had = before[at] ?? 0;
    let now = 0;
    await waitFor(() => `the ${process} has ${now} MB, and ${had} MB before`, () => (now = memory(process)) < had + 40);
    context.diagnostic(`${process}: ${had.toFixed(0)} MB before, ${now.toFixed(0)} MB afterwards`);
  }
  assert.equal(await run("print('open')"), 5, "the connection is still open");
  await own.close();
});
