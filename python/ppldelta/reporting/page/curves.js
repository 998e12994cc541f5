// The curves of the other models in the figure of an open document: all at once, each in its colour.

/** How many of a curve's first values do not count for its scale: over few tokens a mean jumps. */
ppldelta.unsettled = (n, step) => Math.min(Math.max(Math.ceil(20 / step), Math.ceil(n / 8)), n >> 2);

ppldelta.addCurves = (figure, shown, most) => {
  "use strict";

  if (shown.spans) return; // each model has spans of its own
  const { state, index } = ppldelta;
  const step = Math.max(1, Math.ceil(shown.n / most));
  const colors = index.colors[shown.family];
  const { models } = index.families[shown.family];
  for (const trace of figure.data) if (["ratio", "sum"].includes(trace.meta.curve)) trace.line.color = ppldelta.plots.shade(colors[shown.model]);
  const { range } = figure.layout.yaxis;
  models.forEach((model, m) => {
    if (m === shown.model || state.isHidden(shown.family, m)) return;
    const x = [], y = [];
    let total = 0;
    for (let i = 0; i < shown.n; i++) {
      total += shown.deltas[m][i];
      if (i % step && i < shown.n - 1) continue;
      x.push(shown.positions[i]); y.push(Math.exp(-total / (i + 1)));
    }
    for (const value of y.slice(ppldelta.unsettled(y.length, step))) {
      range[0] = Math.min(range[0], value - 0.02); range[1] = Math.max(range[1], value + 0.02);
    }
    figure.data.push({
      type: "scatter", mode: "lines", x, y, xaxis: "x", yaxis: "y", name: model.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"),
      meta: { curve: "other", model }, showlegend: false, line: { color: ppldelta.plots.shade(colors[m]), width: 1, dash: index.classes[shown.family][m].includes("again") ? "dash" : "solid" }, hovertemplate: "%{y:.4f}",
    });
  });
};
