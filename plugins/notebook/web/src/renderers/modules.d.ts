declare module "plotly.js-dist-min" {
  const Plotly: {
    newPlot(root: HTMLElement, data: unknown[], layout: object, config: object): Promise<unknown>;
    addFrames(root: HTMLElement, frames: unknown[]): Promise<unknown>;
  };
  export default Plotly;
}
declare module "anywidget";
