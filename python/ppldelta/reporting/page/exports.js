// A figure as a picture of its own: with the title above it, a legend of what is shown, and a line that says what was
// compared on what. On the page all of these stand around the figure.
ppldelta.exports = (() => {
  "use strict";

  const { state, index, plots } = ppldelta;
  const CHARACTER = 7.2; // pixels of a character of the legend, on average
  const LINE = 21; // pixels of a line of the legend
  const HEAD = 62; // pixels of a title of one line and its subtitle
  const TITLE = 21; // pixels of a further line
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

  const isCategory = (canvas) => state.category !== null && plots.described(canvas).follows.includes("category");
  /** The models that a figure shows; of several families with their family's number. */
  const models = (canvas) => index.families.flatMap(({ models: all }, f) => (canvas.dataset.family === "shared" || Number(canvas.dataset.family) === f ? all.filter((_, m) => !state.isHidden(f, m)) : []));

  /** One sentence: what the figure shows, of which documents, of which models. */
  function title(canvas) {
    const label = canvas.getAttribute("aria-label"), shown = models(canvas), view = ppldelta.reader.view();
    const of = isCategory(canvas) ? ` on ${state.category || "documents without category"}` : plots.described(canvas).filling === "curve" && view ? ` ${state.loaded.get(view.family).names[view.k]}` : "";
    return `${label}${of}${shown.length === 1 ? `: ${shown[0]}` : ""}.`;
  }

  /** How many documents and tokens a figure rests on where it follows the reader's category or selection. */
  function counts(canvas) {
    const f = Number(canvas.dataset.family), block = state.loaded.get(f);
    if (!block || !isCategory(canvas)) return [];
    const only = state.categoryNumber(f), chosen = [...block.category.keys()].filter((k) => block.category[k] === only);
    const { count } = ppldelta.format, documents = `${count(chosen.length)} document${chosen.length === 1 ? "" : "s"}`;
    const shown = block.n_scored.filter((_, m) => !state.isHidden(f, m));
    if (!shown.length || (index.bits && shown.length > 1)) return [documents]; // each model has its own spans
    const n = chosen.reduce((sum, k) => sum + shown[0][k], 0);
    return [documents, `${count(n)} ${index.bits ? "spans" : "tokens"}`];
  }

  /** What the reader has chosen, as far as the figure follows that. */
  function chosen(canvas) {
    const { follows, selectable } = plots.described(canvas);
    const inBytes = index.bits || canvas.dataset.family === "shared" || (follows.includes("unit") && state.unit === "bpb");
    const weighed = state.weighting === "documents" ? "document" : inBytes ? "byte" : "token";
    const n = selectable && state.selection?.family === Number(canvas.dataset.family) ? state.selection.documents.size : 0;
    return [...counts(canvas), ...(follows.includes("weighting") ? [`every ${weighed} weighs the same`] : []), ...(n ? [`${n} selected document${n === 1 ? "" : "s"} stand${n === 1 ? "s" : ""} out`] : [])].join(", ");
  }

  /** What the picture is, in a file's name: the model or how many, the figure, what was chosen. */
  function fileName(canvas) {
    const shown = models(canvas), [figure, ...parts] = canvas.dataset.figure.split("/");
    const what = figure === "small" ? "models" : figure;
    const who = shown.length === 1 ? shown[0] : what === "models" ? String(shown.length) : `${shown.length} models`, fixed = parts.find((part) => part.startsWith("="))?.slice(1) ?? "";
    const family = index.families.length > 1 ? index.families[Number(canvas.dataset.family)]?.name ?? "" : "";
    return ppldelta.csv.fileName(`${who} ${family} ${what}`, plots.described(canvas).follows.filter((name) => name !== "hidden"), fixed);
  }

  /** Marks for the legend: the models that are shown, and the categories where documents are. */
  function legend(canvas, figure) {
    const named = new Map();
    for (const trace of figure.data) {
      const model = trace.meta?.model;
      if (model === undefined || trace.visible === false || trace.meta.selected || trace.meta.contour) continue;
      const color = [trace.marker?.color, trace.line?.color].flat().find((each) => typeof each === "string");
      if (color && !named.has(trace.name)) named.set(trace.name, { color, symbol: trace.meta.marks || typeof trace.marker?.symbol !== "string" ? "circle" : trace.marker.symbol });
    }
    const entry = (name, marker) => ({
      type: "scatter", x: [null], y: [null], mode: "markers", name, marker: { size: 10, ...marker }, showlegend: true, hoverinfo: "skip",
    });
    const entries = [...named].map(([name, marker]) => entry(name, marker));
    const stroke = plots.color("muted"), line = (name) => entry(name, { symbol: "line-ew", color: stroke, line: { color: stroke, width: 1.5 } }); // a line of the legend would be as thick as its marks
    const shown = figure.data.filter((trace) => trace.visible !== false);
    if (shown.some((trace) => trace.error_x?.array || trace.error_y?.array)) entries.push(line("95 % interval"));
    if (shown.some((trace) => trace.meta?.contour)) entries.push(line("half and 9/10 of documents"));
    const family = index.families[Number(canvas.dataset.family)];
    if (!plots.described(canvas).selectable || !family || family.categories.length < 2) return entries;
    const symbols = index.symbols[Number(canvas.dataset.family)];
    const only = isCategory(canvas) ? state.category : null;
    const categories = family.categories.flatMap((name, k) => (only !== null && name !== only ? [] : [entry(literal(cut(name || "(none)", 40)), { color: plots.color("muted"), symbol: symbols[k] })]));
    return [...entries, ...categories];
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
    const titled = broken(title(canvas), Math.floor((width - 40) / 9)), more = TITLE * (titled.length - 1);
    const margin = { ...layout.template.layout.margin, ...layout.margin };
    const said = broken(index.sources[canvas.dataset.family], Math.floor((width - 70) / 6.1));
    const foot = 14 + FOOT * said.length;
    const muted = { size: 11, color: plots.color("muted") };
    for (const trace of data) trace.showlegend = false;
    Object.assign(layout, {
      autosize: false, width, height: canvas.clientHeight + HEAD + more + rows + foot,
      title: {
        text: `<b>${titled.map(literal).join("<br>")}</b>`, font: { size: 16, color: plots.color("ink") }, subtitle: { text: literal(chosen(canvas)), font: { ...muted, size: 12 } },
        x: 0, xref: "container", xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: { l: 14, t: 14 + more / 2 },
      },
      margin: { ...margin, t: margin.t + HEAD + more + rows, b: Math.max(margin.b, 58) + foot },
      showlegend: entries.length > 0,
      legend: {
        orientation: "h", x: 0.012, xref: "container", xanchor: "left", y: 1 - (HEAD + more - 8) / (canvas.clientHeight + HEAD + more + rows + foot), yref: "container", yanchor: "top",
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
    return plots.plotly().downloadImage(figure, { format, scale: 2, width, height, filename: fileName(canvas) });
  }
  document.addEventListener("click", async (event) => {
    const id = event.target.closest?.("[data-picture]")?.dataset.picture, canvas = id && document.getElementById(id);
    if (!canvas) return;
    if (!canvas.data) await plots.draw(canvas);
    save(canvas, "png");
  });

  return { save, standing };
})();
