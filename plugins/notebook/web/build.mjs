// Builds the front end into dist/: app.js, app.css, frame.html, icon.svg, KaTeX's fonts, index.html, where the server replaces
// {{base}} by the mount prefix, and renderers/, scripts that the page loads when an output needs them. Each larger text also has a compressed
// form. `node build.mjs --watch` rebuilds after each change, without minifying or compressing.
import { context } from "esbuild";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const watch = process.argv.includes("--watch");

await rm(here("dist"), { recursive: true, force: true });
await mkdir(here("dist"), { recursive: true });
for (const file of ["index.html", "frame.html", "icon.svg"]) await cp(here(`src/${file}`), here(`dist/${file}`));

const common = {
  absWorkingDir: here("."),
  bundle: true,
  target: ["es2022"],
  minify: !watch,
  sourcemap: watch ? "inline" : false,
  legalComments: "none",
  logLevel: "warning",
};

/** Writes `app.js.gz` and so on, which the server sends to browsers that take it. */
async function compress() {
  const files = (await readdir(here("dist"), { recursive: true })).filter((name) => /\.(js|css|html)$/.test(name));
  for (const name of files) {
    const text = await readFile(here(`dist/${name}`));
    if (text.length > 4096) await writeFile(here(`dist/${name}.gz`), await promisify(gzip)(text, { level: 9 }));
  }
}

const builds = [
  await context({
    ...common,
    entryPoints: { app: "src/main.ts", early: "src/early.ts", passkeys: "src/passkeys.ts" },
    outdir: "dist",
    format: "esm",
    splitting: true,
    chunkNames: "chunks/[name]-[hash]",
    // Only woff2: every browser that can run this script supports it.
    loader: { ".woff2": "file", ".woff": "empty", ".ttf": "empty" },
    assetNames: "fonts/[name]-[hash]",
  }),
  // They run in a frame that may load nothing, so each is one classic script.
  await context({
    ...common,
    entryPoints: { vega: "src/renderers/vega.ts", plotly: "src/renderers/plotly.ts", widgets: "src/renderers/widgets.ts" },
    outdir: "dist/renderers",
    format: "iife",
    loader: { ".svg": "dataurl", ".woff2": "dataurl", ".woff": "empty", ".ttf": "empty" },
  }),
];
if (watch) {
  await Promise.all(builds.map((build) => build.watch()));
  console.log("watching");
} else {
  await Promise.all(builds.map((build) => build.rebuild()));
  await Promise.all(builds.map((build) => build.dispose()));
  await compress();
}
