//! A login of the server with its groups, with the real program: a service tells who it is (`auth_forward`), as LDAP and OIDC do.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { BIN, Server } from "./server";

/** Who the service says it is, and in which groups. */
let groups = "staff";
let service: HttpServer;
let server: Server;

before(async () => {
  service = createServer((_, response) => response.writeHead(200, { "remote-user": "dora", "remote-groups": groups }).end());
  await new Promise<void>((ready) => service.listen(0, "127.0.0.1", ready));
  const { port } = service.address() as AddressInfo;
  const settings = `users = "accounts"
kernel_sandbox = "none"
trust_server_user = true
server_groups = { admin = ["ops"], enter = ["staff"] }
[app.service]
use = "proxy"
upstreams = ["http://127.0.0.1:${port}"]
[middleware.login]
use = "auth_forward"
app = "service"
path = "/"
user_header = "remote-user"
groups_header = "remote-groups"`;
  server = await Server.start("", settings, 'middleware = ["login"]');
});
after(async () => {
  await server?.stop();
  service?.close();
});

async function ask(path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(server.url + path);
  return { status: response.status, text: await response.text() };
}

test("the groups of a login decide who may enter, and who is an administrator", async () => {
  const { status, text } = await ask("api/me");
  assert.equal(status, 200, text);
  assert.match(text, /"username":"dora"/);
  assert.equal((await ask("admin")).status, 404);
  groups = "staff,ops";
  const admin = await ask("admin");
  assert.equal(admin.status, 200, admin.text);
  assert.match(admin.text, /<h3>ops<\/h3><ul><li>dora/);
  groups = "others";
  assert.equal((await ask("api/me")).status, 403);
});

test("`paster check` recommends a second origin for outputs", () => {
  const told = execFileSync(BIN, ["check", join(server.folder, "server.toml")], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  assert.match(told, /`\[app\.main\.settings\]`: with accounts, outputs of kernels .*content_origin/);
});
