// What the page does: draws the figures in the colours of the moment, hides and shows models in all
// figures of their family at once, sorts tables. All names are read as data, none is put in as HTML.
(() => {
  "use strict";

  const swap = JSON.parse(document.getElementById("swap").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const coarse = window.matchMedia("(pointer: coarse)");
  const canvases = [...document.querySelectorAll(".canvas")];
  const hidden = new Set(); // "family/model" of the models that are switched off
  const PAPER = 700; // pixels across a sheet, where the browser does not let figures grow and shrink
  const NARROW = 380; // pixels of a plane below which names at the marks would collide

  const config = (canvas) => ({
    responsive: true,
    displaylogo: false,
    doubleClick: "reset",
    displayModeBar: coarse.matches ? false : "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], // a full list: plotly's own may send data away
    showSendToCloud: false,
    plotlyServerURL: "",
    toImageButtonOptions: { format: "png", scale: 2, filename: canvas.id },
  });

  const familyOf = (canvas) => canvas.id.slice(1, canvas.id.indexOf("-"));

  function figureOf(canvas, isDark, onPaper) {
    const text = document.querySelector(`script[data-figure="${canvas.id}"]`).textContent;
    const inTheme = (key, value) => { // "#rrggbb" or, with transparency, "#rrggbbaa"
      if (!isDark || !/color$/.test(key) || typeof value !== "string") return value;
      return value.slice(0, 7) in swap ? swap[value.slice(0, 7)] + value.slice(7) : value;
    };
    const figure = JSON.parse(text, inTheme);
    figure.layout.showlegend = false; // the page has one legend for all figures of a family
    const width = onPaper ? (figure.layout.height ? PAPER : PAPER / 2) - 40 : canvas.clientWidth;
    if (onPaper) Object.assign(figure.layout, { width, height: figure.layout.height ?? width * 0.94 });
    else figure.layout.autosize = true;
    figure.layout.dragmode = coarse.matches ? false : "zoom";
    for (const trace of figure.data) {
      const model = trace.meta?.model;
      trace.visible = !(model !== undefined && hidden.has(`${familyOf(canvas)}/${model}`));
      if (width < NARROW && trace.mode === "markers+text" && model !== undefined) trace.mode = "markers";
    }
    return figure;
  }

  function draw(canvas, isDark, onPaper = false) {
    const figure = figureOf(canvas, isDark, onPaper);
    return Plotly.react(canvas, figure.data, figure.layout, config(canvas));
  }

  const drawAll = (...how) => Promise.all(canvases.map((canvas) => draw(canvas, ...how)));

  async function drawOneByOne() {
    for (const canvas of canvases) {
      await draw(canvas, dark.matches);
      await new Promise((resolve) => setTimeout(resolve)); // the page answers in between
    }
    document.documentElement.dataset.drawn = String(canvases.length);
  }

  function toggle(chip) {
    const { family, model } = chip.dataset;
    const key = `${family}/${model}`;
    const off = !hidden.delete(key);
    if (off) hidden.add(key);
    for (const each of document.querySelectorAll(".chip")) {
      if (each.dataset.family === family && each.dataset.model === model) each.setAttribute("aria-pressed", String(!off));
    }
    for (const canvas of canvases.filter((each) => familyOf(each) === family)) {
      const indices = (canvas.data ?? []).flatMap((trace, i) => (trace.meta?.model === model ? [i] : []));
      if (indices.length) Plotly.restyle(canvas, { visible: !off }, indices);
    }
  }

  function sort(button) {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const column = [...heading.parentNode.children].indexOf(heading);
    const numeric = heading.classList.contains("number");
    const first = numeric ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first
      ? (numeric ? "ascending" : "descending") : first;
    for (const each of heading.parentNode.children) each.setAttribute("aria-sort", each === heading ? order : "none");
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const value = (row) => row.children[column].dataset.sort;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // what is unknown comes last
      return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
    };
    body.append(...[...body.rows].sort(compare));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.matches(".chip")) toggle(button);
    else if (button?.closest("thead")) sort(button);
  });
  dark.addEventListener("change", () => drawAll(dark.matches));
  window.addEventListener("beforeprint", () => drawAll(false, true));
  window.addEventListener("afterprint", () => drawAll(dark.matches));

  drawOneByOne();
})();
