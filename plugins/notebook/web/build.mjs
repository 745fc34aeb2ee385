// Builds the front end into dist/: app.js, app.css, frame.html, icon.svg, KaTeX's fonts and index.html, where the server
// replaces {{base}} by the mount prefix.
// `node build.mjs --watch` rebuilds after each change, without minifying.
import { context } from "esbuild";
import { cp, mkdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const watch = process.argv.includes("--watch");

await rm(here("dist"), { recursive: true, force: true });
await mkdir(here("dist"), { recursive: true });
for (const file of ["index.html", "frame.html", "icon.svg"]) await cp(here(`src/${file}`), here(`dist/${file}`));

const build = await context({
  absWorkingDir: here("."),
  entryPoints: { app: "src/main.ts" },
  outdir: "dist",
  bundle: true,
  format: "esm",
  target: ["es2022"],
  minify: !watch,
  sourcemap: watch ? "inline" : false,
  // Only woff2: every browser that can run this script supports it.
  loader: { ".woff2": "file", ".woff": "empty", ".ttf": "empty" },
  assetNames: "fonts/[name]",
  legalComments: "none",
  logLevel: "warning",
});
if (watch) {
  await build.watch();
  console.log("watching");
} else {
  await build.rebuild();
  await build.dispose();
}
