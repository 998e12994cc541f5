// A figure as a picture of its own: with the title above it, a legend of what is shown, and a line that says what was
// compared on what. On the page all of these stand around the figure.
ppldelta.exports = (() => {
  "use strict";

  const { state, index, plots } = ppldelta;
  const CHARACTER = 7.2; // pixels of a character of the legend, on average
  const LINE = 21; // pixels of a line of the legend
  const HEAD = 62; // pixels of title and subtitle
  const FOOT = 16; // pixels of a line of the source

  /** A text as plotly shows it letter by letter: it reads a little HTML. */
  const literal = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most / 2 - 1)}…${text.slice(1 - most / 2)}`);

  /** A text in lines of at most so many characters, broken at spaces. */
  function broken(text, most) {
    const found = [""];
    for (const word of text.split(" ")) {
      if (found.at(-1) && found.at(-1).length + word.length >= most) found.push("");
      found[found.length - 1] += `${found.at(-1) ? " " : ""}${cut(word, most)}`;
    }
    return found;
  }

  function title(canvas) {
    const caption = canvas.parentNode.querySelector("figcaption")?.firstChild?.textContent.trim();
    return caption || canvas.getAttribute("aria-label");
  }

  /** What the figure shows, and what the reader has chosen, as far as it follows that. */
  function chosen(canvas) {
    const { follows } = plots.described(canvas);
    const words = { tokens: "every token weighs the same", documents: "every document weighs the same" };
    const label = canvas.getAttribute("aria-label");
    return [
      ...(label === title(canvas) ? [] : [label]),
      ...(follows.includes("weighting") ? [words[state.weighting]] : []),
      ...(follows.includes("category") && state.category !== null ? [`only ${state.category || "documents without category"}`] : []),
    ].join("; ");
  }

  /** Marks for the legend: the models that are shown, and the categories where documents are. */
  function legend(canvas, figure) {
    const named = new Map();
    for (const trace of figure.data) {
      const model = trace.meta?.model;
      if (model === undefined || trace.visible === false || trace.meta.selected || trace.meta.contour) continue;
      const color = [trace.marker?.color, trace.line?.color].flat().find((each) => typeof each === "string");
      if (color && !named.has(trace.name)) named.set(trace.name, color);
    }
    const entry = (name, marker) => ({
      type: "scatter", x: [null], y: [null], mode: "markers", name, marker: { size: 10, ...marker }, showlegend: true, hoverinfo: "skip",
    });
    const models = [...named].map(([name, color]) => entry(name, { color }));
    const family = index.families[Number(canvas.dataset.family)];
    if (!plots.described(canvas).selectable || !family || family.categories.length < 2) return models;
    const symbols = index.symbols[Number(canvas.dataset.family)];
    const categories = family.categories.map((name, k) => entry(literal(cut(name || "(none)", 40)), { color: plots.color("muted"), symbol: symbols[k] }));
    return [...models, ...categories];
  }

  /** Lines that the legend's entries take: plotly sets them in columns of one width if they do not fit one line. */
  function lines(entries, width) {
    const widths = entries.map(({ name }) => 44 + CHARACTER * name.length);
    if (widths.reduce((sum, each) => sum + each, 0) <= width) return entries.length > 0 ? 1 : 0;
    return Math.ceil(entries.length / Math.max(1, Math.floor(width / Math.max(...widths))));
  }

  /** The figure as it is drawn now, with all that a picture needs to stand alone; its size in pixels is in `layout`. */
  function standing(canvas) {
    const figure = plots.figureOf(canvas);
    const { data, layout } = figure;
    for (const axis of ["xaxis", "yaxis"]) { // as far as the reader has zoomed
      if (canvas.layout?.[axis]?.range) layout[axis] = { ...layout[axis], range: canvas.layout[axis].range, autorange: false };
    }
    const entries = legend(canvas, figure);
    const width = Math.max(canvas.clientWidth, 420);
    const rows = LINE * lines(entries, width - 40);
    const margin = { ...layout.template.layout.margin, ...layout.margin };
    const said = broken(index.sources[canvas.dataset.family], Math.floor((width - 70) / 6.1));
    const foot = 14 + FOOT * said.length;
    const muted = { size: 11, color: plots.color("muted") };
    for (const trace of data) trace.showlegend = false;
    Object.assign(layout, {
      autosize: false, width, height: canvas.clientHeight + HEAD + rows + foot,
      title: {
        text: `<b>${literal(title(canvas))}</b>`, font: { size: 16, color: plots.color("ink") }, subtitle: { text: literal(chosen(canvas)), font: { ...muted, size: 12 } },
        x: 0, xref: "container", xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: { l: 14, t: 14 },
      },
      margin: { ...margin, t: margin.t + HEAD + rows, b: Math.max(margin.b, 58) + foot },
      showlegend: entries.length > 0,
      legend: {
        orientation: "h", x: 0.012, xref: "container", xanchor: "left", y: 1 - (HEAD - 8) / (canvas.clientHeight + HEAD + rows + foot), yref: "container", yanchor: "top",
        font: { size: 12, color: plots.color("ink") }, itemsizing: "constant", traceorder: "normal", // grouped, they would stand one below the other
      },
      annotations: [...(layout.annotations ?? []), {
        text: said.map(literal).join("<br>"), align: "left", font: muted, showarrow: false, x: 0, xref: "paper", xanchor: "left",
        xshift: 0, y: 0, yref: "paper", yanchor: "bottom", yshift: 8 - Math.max(margin.b, 58) - foot,
      }],
    });
    return { data: [...data, ...entries], layout };
  }

  /** Saves a figure as a picture. */
  function save(canvas, format) {
    const figure = standing(canvas);
    const { width, height } = figure.layout;
    const filename = ppldelta.csv.fileName(canvas.id, plots.described(canvas).follows);
    return plots.plotly().downloadImage(figure, { format, scale: 2, width, height, filename });
  }

  return { save, standing };
})();
