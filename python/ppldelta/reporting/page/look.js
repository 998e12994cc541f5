// The page of a look at a text: draws the figures that Python made, light or dark, as they come into view; a zoom along the
// text in one of them is a zoom in all.
(() => {
  "use strict";

  const root = document.documentElement;
  const { figures, template, dark_of_light: swap } = JSON.parse(document.getElementById("data").textContent);
  const canvases = [...document.querySelectorAll(".canvas")];
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  const paper = window.matchMedia("print");
  const LAYER = 24; // pixels that the number of a layer needs
  const NAME = 11; // pixels that a name at the axis needs

  const isDark = () => !paper.matches && (root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches);

  function recolored(value, name = "") { // "#rrggbb" or, with transparency, "#rrggbbaa"; scales of colours hold several
    if (Array.isArray(value)) return value.map((each) => recolored(each, name));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, recolored(each, key)]));
    }
    if (!isDark() || typeof value !== "string" || !/color(scale)?$/.test(name)) return value;
    return value.slice(0, 7) in swap ? swap[value.slice(0, 7)] + value.slice(7) : value;
  }

  const alongText = (canvas) => figures[canvas.dataset.figure].layout.xaxis.type === "category";
  let range = null; // of places, if not the whole text is shown

  /** Names at the axis along the text, as many as have room. */
  function ticks(canvas) {
    const { ticktext, tickvals } = figures[canvas.dataset.figure].layout.xaxis;
    const [first, last] = range ?? [-0.5, tickvals.length - 0.5];
    const step = Math.max(1, Math.ceil(((last - first) * NAME) / Math.max(canvas.clientWidth - 200, 100)));
    const texts = figures[canvas.dataset.figure].layout.meta.places;
    return { tickvals, ticktext: ticktext.map((_, i) => (i % step === 0 ? texts[i] : "")) };
  }

  /** Names of layers, as many as have room; the last one, what the head reads, is always there. */
  function layers(canvas, { ticktext }) {
    const step = Math.max(1, Math.ceil((ticktext.length * LAYER) / Math.max(canvas.clientWidth - 110, 100)));
    const last = ticktext.length - 1;
    return ticktext.map((name, i) => (i === last || (i % step === 0 && last - i >= 1.5 * step) || step === 1 ? name : ""));
  }

  const config = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", doubleClick: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  const stale = new Set(canvases), near = new Set();

  async function draw(canvas) {
    stale.delete(canvas);
    const figure = recolored(figures[canvas.dataset.figure]);
    figure.layout.template = recolored(template);
    figure.layout.autosize = true;
    if (alongText(canvas)) {
      Object.assign(figure.layout.xaxis, ticks(canvas));
      if (range) figure.layout.xaxis.range = range;
    }
    if (canvas.dataset.figure === "depth") figure.layout.xaxis.ticktext = layers(canvas, figure.layout.xaxis);
    const first = !canvas.data;
    await Plotly.react(canvas, figure.data, figure.layout, { ...config, toImageButtonOptions: { filename: canvas.dataset.figure, scale: 2 } });
    if (first) {
      canvas.on("plotly_relayout", (changed) => follow(canvas, changed));
      canvas.on("plotly_doubleclick", () => show(null));
    }
  }

  function follow(canvas, changed) {
    if (!alongText(canvas)) return;
    if (changed["xaxis.autorange"]) show(null);
    else if ("xaxis.range[0]" in changed) show([changed["xaxis.range[0]"], changed["xaxis.range[1]"]]);
  }

  function show(places) {
    range = places;
    document.getElementById("reset").hidden = places === null;
    for (const canvas of canvases) if (alongText(canvas)) stale.add(canvas);
    catchUp();
  }

  let busy = null;
  /** Draws what is due, one by one, so that the page answers in between. */
  function catchUp() {
    busy ??= (async () => {
      for (let canvas; (canvas = canvases.find((each) => stale.has(each) && near.has(each))); ) {
        await draw(canvas);
        await new Promise((resolve) => setTimeout(resolve));
      }
    })().finally(() => { busy = null; root.dataset.drawn = ""; });
    return busy;
  }

  const nameTheme = () => { document.getElementById("theme-word").textContent = isDark() ? "Light" : "Dark"; }; // what a click gives

  function drawAgain() {
    nameTheme();
    for (const canvas of canvases) stale.add(canvas);
    catchUp();
  }

  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    drawAgain();
  });
  document.getElementById("reset").addEventListener("click", () => show(null));
  preferred.addEventListener("change", drawAgain);
  paper.addEventListener("change", drawAgain);

  const watching = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) near[isIntersecting ? "add" : "delete"](target);
    catchUp();
  }, { rootMargin: "500px 0px" });
  for (const canvas of canvases) watching.observe(canvas);
  nameTheme();
})();
