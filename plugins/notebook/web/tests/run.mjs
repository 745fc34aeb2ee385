// Bundles the tests (TypeScript) and runs them with node's test runner. `node tests/run.mjs [unit|browser|server|all] [options of node --test]`
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdir, readdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const [kind = "all", ...rest] = process.argv.slice(2);
const files = (await readdir(`${root}tests`)).filter((name) => name.endsWith(".test.ts") && (kind === "all" || name.startsWith(kind))).sort();
const out = `${root}tests/.built`;
await rm(out, { recursive: true, force: true });
await mkdir(out);
// Packages stay outside the bundle.
await build({ absWorkingDir: root, entryPoints: files.map((name) => `tests/${name}`), outdir: out, outExtension: { ".js": ".mjs" }, bundle: true, packages: "external", platform: "node", format: "esm", target: "node20", sourcemap: "inline", logLevel: "warning" });
const built = files.map((name) => `${out}/${name.replace(/\.ts$/, ".mjs")}`);
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", "--test-reporter=tap", "--test-concurrency=2", "--test-force-exit", ...rest, ...built], { stdio: "inherit", cwd: root });
await rm(out, { recursive: true, force: true });
process.exit(status ?? 1);
