// Draws the figures that Python made, in the colours of the moment and with what the reader chose. What a figure follows
// and what is filled into it stands in catalogue.py; the panels that fill something in say how (`fill`).
ppldelta.plots = (() => {
  "use strict";

  const { state, index } = ppldelta;
  const { colors, dark_of_light: swap, square } = index.look;
  const coarse = window.matchMedia("(pointer: coarse)");
  const canvases = [...document.querySelectorAll(".canvas")];
  const figures = new Map(); // family → { template, figures by key }
  const fillers = new Map(); // what is filled in → function (figure, canvas)
  const PAPER = 700; // pixels across a sheet, where the browser does not let figures grow and shrink
  const NARROW = 380, BRIEF = 8; // pixels of a plane below which names at the marks would collide that have more characters

  const save = (format, title) => ({
    name: `save-${format}`,
    title,
    icon: { width: 24, height: 24, path: format === "png"
      ? "M12 3a1 1 0 0 1 1 1v8.6l3.3-3.3 1.4 1.4L12 16.4 6.300 10.700l1.400-1.400L11 12.600V4a1 1 0 0 1 1-1zM4 18h16v2H4z"
      : "M5 3h9l5 5v13H5zM13 4.500V9h4.500M8 13h8v1.500H8zM8 16.500h8V18H8z" },
    click: (canvas) => ppldelta.exports.save(canvas, format),
  });

  /** What Python says of a canvas's figure: `follows`, `filling` and `selectable`. */
  const described = (canvas) => index.figures[canvas.dataset.figure.split("/")[0]];

  const config = (canvas) => ({
    responsive: true,
    displaylogo: false,
    doubleClick: "reset",
    displayModeBar: coarse.matches ? false : "hover",
    modeBarButtons: [[ // a full list: plotly's own may send data away
      save("png", "Save as PNG"), save("svg", "Save as SVG"), "zoom2d", "pan2d",
      ...(described(canvas).selectable ? ["select2d", "lasso2d"] : []), "resetScale2d",
    ]],
    showSendToCloud: false,
    plotlyServerURL: "",
  });

  function recolored(value, name = "") { // "#rrggbb" or, with transparency, "#rrggbbaa"
    if (Array.isArray(value)) return value.map((each) => (typeof each === "object" ? recolored(each) : each));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, recolored(each, key)]));
    }
    if (!state.dark || state.onPaper || typeof value !== "string" || !/color$/.test(name)) return value;
    return value.slice(0, 7) in swap ? swap[value.slice(0, 7)] + value.slice(7) : value;
  }

  /** The colour that a role of `theme.CHROME` has now. */
  const color = (role) => (state.dark && !state.onPaper ? swap[colors[role]] : colors[role]);

  function keyOf(canvas) {
    return canvas.dataset.figure.replace("{unit}", state.unit).replace("{axes}", state.axes).replace("{weighting}", state.weighting).replace("{category}", () => state.part("category"));
  }

  function figureOf(canvas) {
    const family = canvas.dataset.family;
    const made = figures.get(family);
    const key = keyOf(canvas);
    const ofAll = made.figures[key.slice(0, key.lastIndexOf("/") + 1)];
    const figure = recolored(made.figures[key] ?? ofAll);
    const only = index.families[family]?.categories;
    if (!made.figures[key] && !(only?.length === 1 && only[0] === state.category)) { // the family has none in this category
      figure.data = [];
      figure.layout.annotations = [{ text: "no documents in this category", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false }];
    }
    figure.layout.template = recolored(made.template);
    figure.layout.showlegend = false; // the page has one legend for all figures of a family
    const wide = (figure.layout.height ?? 0) > 0;
    const width = state.onPaper ? (wide ? PAPER : PAPER / 2) - 40 : canvas.clientWidth;
    if (state.onPaper) Object.assign(figure.layout, { width, height: figure.layout.height ?? width * square });
    else figure.layout.autosize = true;
    figure.layout.dragmode = coarse.matches ? false : described(canvas).selectable ? "lasso" : "zoom";
    for (const trace of figure.data) {
      const { model, family: named } = trace.meta ?? {};
      const of = named === undefined ? Number(family) : index.families.findIndex((each) => each.name === named);
      if (model !== undefined) trace.visible = [model, trace.meta.above ?? model].every((each) => !state.isHidden(of, state.modelNumber(of, each)));
      if (trace.meta?.front) { // joins only what is shown
        const shown = trace.customdata.map(([named, label]) => {
          const f = named === null ? of : index.families.findIndex((each) => each.name === named);
          return !state.isHidden(f, state.modelNumber(f, label));
        });
        for (const axis of ["x", "y"]) trace[axis] = trace[axis].filter((_, i) => shown[i]);
      }
      const collides = width < NARROW && [trace.text].flat().some((name) => name?.length > BRIEF);
      if (width < NARROW && trace.meta?.above) trace.visible = false; // what a step costs
      if (collides && trace.mode === "markers+text" && model !== undefined) trace.mode = "markers";
    }
    for (const note of figure.layout.annotations ?? []) { // what is said of one model
      if (note.name !== undefined && index.families[family]) note.visible = !state.isHidden(Number(family), state.modelNumber(Number(family), note.name));
    }
    fillers.get(described(canvas).filling)?.(figure, canvas);
    ppldelta.zoom(figure);
    // a zoom by hand stays while the same axes are drawn again
    figure.layout.uirevision = `${state.unit}${state.axes}${state.onPaper}${figure.layout.xaxis?.range}`;
    return figure;
  }

  /** plotly.js, which is read when it is first needed: that takes as long as all else until the page answers. */
  function plotly() {
    const source = document.getElementById("plotly");
    if (source?.type) { // as a script it has none
      const script = document.createElement("script");
      script.textContent = source.textContent; // the policy knows it by its hash
      source.replaceWith(script);
    }
    return window.Plotly;
  }

  /** Draws a figure now, wherever it stands. */
  function draw(canvas) {
    if (!figures.has(canvas.dataset.family)) return null;
    stale.delete(canvas);
    const figure = figureOf(canvas);
    const first = !canvas.data;
    const drawn = plotly().react(canvas, figure.data, figure.layout, config(canvas));
    if (first) canvas.dispatchEvent(new CustomEvent("firstdraw", { bubbles: true }));
    return drawn;
  }

  // Only what is in view or near it is drawn, the rest when the reader comes to it.
  const stale = new Set(canvases), near = new Set();
  let seen;
  const looked = new Promise((resolve) => { seen = resolve; });
  const watching = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) near[isIntersecting ? "add" : "delete"](target);
    seen();
    catchUp();
  }, { rootMargin: "500px 0px" });

  let busy = null;
  /** Draws what is due, one by one, so that the page answers in between. */
  function catchUp() {
    const due = () => canvases.find((each) => stale.has(each) && near.has(each));
    busy ??= (async () => {
      for (let canvas; (canvas = due()); ) {
        try {
          await draw(canvas);
        } catch (error) { // the others are drawn all the same
          canvas.replaceChildren(ppldelta.format.element("p", { class: "quiet", role: "alert" }, `This figure cannot be drawn: ${error.message}.`));
        }
        await new Promise((resolve) => setTimeout(resolve));
      }
    })().finally(() => {
      busy = null;
      if (due()) return catchUp(); // what fell due after the last look
    });
    return busy;
  }

  async function load() {
    const families = [...new Set(canvases.map((canvas) => canvas.dataset.family))];
    await Promise.all(families.map(async (family) => {
      const block = await ppldelta.block(family === "shared" ? "shared.figures" : `f${family}.figures`);
      figures.set(family, block);
    }));
  }

  /** Has some figures drawn again, or all; those that are out of view when they come into it. */
  function drawAgain(which = () => true) {
    for (const canvas of canvases) if (which(described(canvas))) stale.add(canvas);
    return catchUp();
  }

  /** From here on figures are drawn as they come into view; done when those in view are there. */
  async function start() {
    for (const canvas of canvases) watching.observe(canvas);
    await looked;
    await catchUp();
  }

  /** A model's colour, light or dark as the page is now. */
  const shade = (light) => (state.dark && !state.onPaper ? swap[light] : light);

  return { plotly, shade, canvases, described, figureOf, draw, drawAgain, load, start, color, fill: (what, filler) => fillers.set(what, filler) };
})();
