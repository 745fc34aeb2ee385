// Builds the front end into dist/: app.js, app.css, frame.html, icon.svg, KaTeX's fonts and index.html, in which the server
// puts the mount prefix for {{base}}.
// `node build.mjs --watch` builds again after each change, unminified.
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
  // Only woff2: every browser that runs this script reads it.
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
