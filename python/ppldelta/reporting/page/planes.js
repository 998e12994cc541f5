// The marks of documents on the planes: filled from the page's numbers under the filters of the moment, selected with
// lasso, box or click, and named by a tip. The models' plane shows what the selected documents alone would say.
(() => {
  "use strict";

  const { state, plots, format, index } = ppldelta;
  const tip = document.getElementById("tip");
  const webgl = (() => { try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; } })();
  const MOST_WITHOUT_WEBGL = 6000; // marks that a browser without it draws of each figure
  const drawnMarks = new WeakMap(); // canvas → for each trace, the document number of each mark

  /** Draws every document that passes the filters where `place` says: a function (block, document, model) → [x, y]. */
  const fillMarks = (place) => (figure, canvas) => {
    const family = Number(canvas.dataset.family);
    const block = state.loaded.get(family);
    if (!block) return;
    const only = state.categoryNumber(family);
    const selected = state.selection?.family === family ? state.selection.documents : null;
    const symbols = index.symbols[family];
    const numbers = [];
    const step = webgl ? 1 : Math.max(1, Math.ceil(block.n * block.gain.length / MOST_WITHOUT_WEBGL));
    figure.data.forEach((trace, i) => {
      if (trace.type === "contour") trace.visible = trace.visible && only === null; // contours are those of all documents
      if (trace.meta?.marks !== "documents") return;
      if (!webgl) trace.type = "scatter";
      const m = state.modelNumber(family, trace.meta.model);
      const marks = [], x = [], y = [], symbol = [], chosen = [];
      for (let k = 0; k < block.n && trace.visible; k++) {
        if (k % step && !selected?.has(k)) continue;
        if (only !== null && block.category[k] !== only) continue;
        const [a, b] = place(block, k, m);
        if (!Number.isFinite(a) || !Number.isFinite(b)) continue;
        if (selected?.has(k)) chosen.push(marks.length);
        marks.push(k); x.push(a); y.push(b); symbol.push(symbols[block.category[k]]);
      }
      Object.assign(trace, { x, y });
      trace.marker.symbol = symbol;
      trace.selectedpoints = selected ? chosen : null;
      numbers[i] = marks;
    });
    figure.layout.selectionrevision = state.selectionDrawn;
    drawnMarks.set(canvas, numbers);
    const caption = canvas.parentNode.querySelector("figcaption");
    if (step > 1 && !caption.querySelector(".quiet")) {
      caption.append(format.element("span", { class: "quiet" }, ` (this browser has no WebGL: one document in ${step} is drawn)`));
    }
  };

  const digits = (value) => format.fixed(value, format.decimals(value));

  function fillSelection(figure, canvas) { // a ring for what the selected documents alone say
    const family = Number(canvas.dataset.family);
    const block = state.loaded.get(family);
    if (state.selection?.family !== family || !block || state.selection.documents.size === 0) return;
    const only = state.categoryNumber(family);
    for (const trace of [...figure.data]) {
      const m = trace.meta?.model === undefined ? -1 : state.modelNumber(family, trace.meta.model);
      if (m < 0 || trace.meta.selected) continue;
      let gain = 0, loss = 0, weight = 0, n = 0;
      for (const k of state.selection.documents) {
        if ((only !== null && block.category[k] !== only) || !Number.isFinite(block.gain[m][k])) continue;
        const scale = state.scale(block, k, m);
        const w = state.weighting === "documents" ? 1 : state.unit === "bpb" ? block.n_bytes[m][k] : block.n_scored[m][k];
        gain += w * scale * block.gain[m][k]; loss += w * scale * block.loss[m][k]; weight += w; n++;
      }
      if (!weight) continue;
      figure.data.push({
        x: [trace.x[0], gain / weight], y: [trace.y[0], loss / weight], type: "scatter", mode: "lines+markers",
        meta: { model: trace.meta.model, selected: true }, visible: trace.visible, showlegend: false, cliponaxis: false,
        line: { color: trace.marker.color, width: 1, dash: "dot" },
        marker: { color: [trace.marker.color, plots.color("surface")], size: [0.1, trace.marker.size], line: { color: trace.marker.color, width: 2 } },
        text: trace.name, // literal, as Python wrote it: plotly reads a little HTML
        hovertemplate: `<b>%{text}</b><br>${n} selected document${n === 1 ? "" : "s"}<br>gain ${digits(gain / weight)}, loss ${digits(loss / weight)}<extra></extra>`,
      });
    }
  }

  function showTip(event, family, k, m) {
    const block = state.loaded.get(family);
    const { element, fixed, signed, count, decimals, significant } = format;
    const { gain, loss, delta, ref, cmp } = state.numbers(family, k, m);
    const category = index.families[family].categories[block.category[k]];
    const { kld, same } = state.divergence(block, k, m);
    const n = decimals(gain, loss);
    tip.replaceChildren(
      element("b", {}, block.names[k]),
      element("span", {}, index.families[family].models[m] + (category ? ` · ${category}` : "")),
      element("span", {}, `gain ${fixed(gain, n)}  loss ${fixed(loss, n)}  delta ${signed(delta, n)} ${index.units[state.unit]}`),
      element("span", {}, state.fits(ref, cmp)),
      Number.isNaN(kld) ? "" : element("span", {}, `KL divergence ${significant(kld)}  same top ${fixed(100 * same, 1)}\u00a0%`),
      element("span", { class: "quiet" }, `${count(block.n_scored[m][k])} ${index.bits ? "spans" : "scored tokens"}${readable(family, k) ? ", click to read" : ""}`),
    );
    ppldelta.placeTip(event.clientX, event.clientY);
    if (readable(family, k)) ppldelta.preview(tip, { family, k, model: m, x: event.clientX, y: event.clientY });
  }

  const readable = (family, k) => index.families[family].token_documents.includes(k);

  ppldelta.placeTip = (x, y) => {
    tip.hidden = false;
    tip.style.left = "0"; // else it is only as wide as there was room where it stood before
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(x + 14, document.documentElement.clientWidth - box.width - 8))}px`;
    tip.style.top = `${y + 18 + box.height > window.innerHeight ? Math.max(8, y - box.height - 12) : y + 18}px`;
  };
  ppldelta.hideTip = () => { tip.hidden = true; };

  function select(family, documents) {
    state.selectionDrawn += 1;
    state.set({ selection: documents?.size ? { family, documents } : null });
  }

  document.addEventListener("firstdraw", ({ target: canvas }) => {
    if (!plots.described(canvas).selectable) return;
    const family = Number(canvas.dataset.family);
    const marked = (point) => drawnMarks.get(canvas)?.[point.curveNumber]?.[point.pointIndex ?? point.pointNumber];
    canvas.on("plotly_hover", ({ points: [point], event }) => {
      const k = marked(point);
      if (k !== undefined) showTip(event, family, k, state.modelNumber(family, point.data.meta.model));
    });
    canvas.on("plotly_unhover", ppldelta.hideTip);
    canvas.on("plotly_click", ({ points: [point] }) => {
      const k = marked(point);
      if (k === undefined) return;
      ppldelta.hideTip();
      select(family, new Set([k]));
      if (readable(family, k)) ppldelta.openDocument(family, k, { model: state.modelNumber(family, point.data.meta.model), scroll: true });
    });
    canvas.on("plotly_selected", (event) => {
      if (!event?.points) return;
      select(family, new Set(event.points.map(marked).filter((k) => k !== undefined)));
    });
    canvas.on("plotly_deselect", () => select(family, null));
  });

  document.getElementById("deselect").addEventListener("click", () => select(0, null));
  document.addEventListener("scroll", ppldelta.hideTip, { capture: true, passive: true });

  plots.fill("deltas", fillMarks((block, k, m) => state.deltas(block, k, m)));
  plots.fill("perplexities", fillMarks(state.perplexities));
  plots.fill("divergences", fillMarks((block, k, m) => {
    const { kld } = state.divergence(block, k, m);
    return [kld > 0 ? kld : NaN, block.gain[m][k] - block.loss[m][k]]; // the axis is logarithmic
  }));
  plots.fill("selection", fillSelection);
})();
