// Builds the front end into dist/: app.js, app.css, frame.html, icon.svg, KaTeX's fonts, index.html, where the server replaces
// {{base}} by the mount prefix, and renderers/, scripts that the page loads when an output needs them.
// `node build.mjs --watch` rebuilds after each change, without minifying.
import { context } from "esbuild";
import { cp, mkdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

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
const builds = [
  await context({
    ...common,
    entryPoints: { app: "src/main.ts", passkeys: "src/passkeys.ts" },
    outdir: "dist",
    format: "esm",
    splitting: true,
    chunkNames: "chunks/[name]-[hash]",
    // Only woff2: every browser that can run this script supports it.
    loader: { ".woff2": "file", ".woff": "empty", ".ttf": "empty" },
    assetNames: "fonts/[name]",
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
}
