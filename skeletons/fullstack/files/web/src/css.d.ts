// esbuild puts imported styles in dist/app.css.
declare module "*.css";
