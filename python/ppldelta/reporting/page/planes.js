// The marks of documents on the planes: filled from the page's numbers under the filters of the moment, selected with
// lasso, box or click, and named by a tip. The models' plane shows what the selected documents alone would say.
(() => {
  "use strict";

  const { state, plots, format, index } = ppldelta;
  const tip = document.getElementById("tip");
  const { sizes: [LEAST, USUAL, MOST], opacities: [FAINT, PLAIN], short: SHORT } = index.marks;
  const MOST_MARKS = 2000; // marks beyond which hexagons say where documents are
  const ACROSS = 40; // hexagons across a plane
  const STEPS = [1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.12]; // how far a plane zooms in, between powers of ten
  const drawnMarks = new WeakMap(); // canvas → for each trace, the document number of each mark; of a hexagon, several

  const medians = new WeakMap(); // block → scored tokens of its median document
  function median(block) {
    if (!medians.has(block)) medians.set(block, [...block.n_scored[0]].filter((n) => n > 0).sort((a, b) => a - b)[block.n >> 1] || 1);
    return medians.get(block);
  }

  /** Puts documents into hexagons: each has the colour of the model with most of them, and an area by their number. Those
   *  of some documents alone are as large as they are `among` all. */
  function hexagons(figure, canvas, found, among = null) {
    const log = (axis) => figure.layout[axis].type === "log";
    const [lx, ly] = [log("xaxis"), log("yaxis")];
    const [x0, x1] = figure.layout.xaxis.range, [y0, y1] = figure.layout.yaxis.range;
    const wide = (x1 - x0) / ACROSS;
    const high = (y1 - y0) / ACROSS * 0.866 * (canvas.clientWidth || 1) / (canvas.clientHeight || 1); // rows, as regular as the figure is
    const cells = new Map();
    for (const { trace, marks, x, y } of found) {
      for (let n = 0; n < marks.length; n++) {
        const u = ((lx ? Math.log10(x[n]) : x[n]) - x0) / wide, v = ((ly ? Math.log10(y[n]) : y[n]) - y0) / high;
        // the nearest of two lattices of rectangles, the second between the places of the first
        const [i, j] = [Math.round(u), 2 * Math.round(v / 2)], [k, l] = [Math.floor(u) + 0.5, 2 * Math.floor(v / 2) + 1];
        const first = (u - i) ** 2 + 0.75 * (v - j) ** 2 <= (u - k) ** 2 + 0.75 * (v - l) ** 2;
        const [p, q] = first ? [i, j] : [k, l];
        const key = `${p},${q}`;
        if (!cells.has(key)) cells.set(key, { p, q, n: 0, of: new Map() });
        const cell = cells.get(key);
        cell.n++;
        if (!cell.of.has(trace)) cell.of.set(trace, []);
        cell.of.get(trace).push(marks[n]);
      }
    }
    const most = among ?? Math.max(...[...cells.values()].map((cell) => cell.n));
    const pixels = 0.82 * (canvas.clientWidth || 440) / ACROSS * 1.1;
    const made = new Map(found.map(({ trace }) => [trace, { x: [], y: [], marks: [], size: [], most }]));
    for (const cell of cells.values()) {
      const [trace] = [...cell.of].reduce((a, b) => (b[1].length > a[1].length ? b : a));
      const into = made.get(trace);
      const x = x0 + cell.p * wide, y = y0 + cell.q * high;
      into.x.push(lx ? 10 ** x : x); into.y.push(ly ? 10 ** y : y);
      into.size.push(Math.max(3, pixels * Math.sqrt(cell.n / most)));
      into.marks.push([...cell.of.values()].flat());
    }
    return made;
  }

  /** Draws every document that passes the filters where `place` says: a function (block, document, model) → [x, y]. */
  const fillMarks = (place) => (figure, canvas) => {
    const family = Number(canvas.dataset.family);
    const block = state.loaded.get(family);
    if (!block) return;
    const only = state.categoryNumber(family);
    const selected = state.selection?.family === family ? state.selection.documents : null;
    const symbols = index.symbols[family];
    const numbers = [];
    const usual = median(block);
    const found = [];
    figure.data.forEach((trace, i) => {
      if (trace.meta?.marks !== "documents") return;
      const m = state.modelNumber(family, trace.meta.model);
      const marks = [], x = [], y = [];
      for (let k = 0; k < block.n && trace.visible; k++) {
        if (only !== null && block.category[k] !== only) continue;
        const [a, b] = place(block, k, m);
        if (!Number.isFinite(a) || !Number.isFinite(b)) continue;
        marks.push(k); x.push(a); y.push(b);
      }
      found.push({ trace, i, m, marks, x, y });
    });
    const total = found.reduce((sum, { marks }) => sum + marks.length, 0);
    const dense = total > MOST_MARKS ? hexagons(figure, canvas, found) : null;
    const ofSelected = found.map(({ trace, marks, x, y }) => {
      const at = selected ? [...marks.keys()].filter((n) => selected.has(marks[n])) : [];
      return { trace, marks: at.map((n) => marks[n]), x: at.map((n) => x[n]), y: at.map((n) => y[n]) };
    });
    const many = ofSelected.reduce((sum, { marks: those }) => sum + those.length, 0) > MOST_MARKS; // then they are hexagons too
    const above = dense && many ? hexagons(figure, canvas, ofSelected, [...dense.values()][0]?.most) : null;
    found.forEach(({ trace, i, m, marks, x, y }, f) => {
      const into = dense?.get(trace) ?? { x: [], y: [], marks: [], size: [] }, over = above?.get(trace);
      const chosen = over ? Array.from(over.marks, (_, n) => into.marks.length + n) : [];
      if (over) for (const name of ["x", "y", "marks", "size"]) into[name].push(...over[name]);
      const symbol = into.marks.map(() => "hexagon2"), opacity = into.marks.map(() => PLAIN);
      const single = dense ? (many ? { marks: [] } : ofSelected[f]) : { marks, x, y }; // above hexagons only what is selected
      single.marks.forEach((k, n) => {
        if (selected?.has(k)) chosen.push(into.marks.length);
        const scored = block.n_scored[m][k];
        into.marks.push(k); into.x.push(single.x[n]); into.y.push(single.y[n]); symbol.push(symbols[block.category[k]]);
        into.size.push(Math.min(Math.max(USUAL * Math.sqrt(scored / usual), LEAST), MOST));
        opacity.push(scored < SHORT ? FAINT : PLAIN);
      });
      Object.assign(trace, { x: into.x, y: into.y });
      Object.assign(trace.marker, { symbol, size: into.size, opacity });
      trace.selectedpoints = selected ? chosen : null;
      numbers[i] = into.marks;
    });
    figure.layout.selectionrevision = state.selectionDrawn;
    drawnMarks.set(canvas, numbers);
    canvas.dataset.dense = String(dense !== null);
    canvas.dataset.marks = String(total);
    const caption = canvas.parentNode.querySelector("figcaption");
    caption.querySelector(".quiet")?.remove();
    if (dense) caption.append(format.element("span", { class: "quiet" }, " · hexagons: the larger, the more documents; click one to select them"));
  };

  /** Has a plane reach as far as the models that are shown, with the lines of equal difference that go with it. */
  ppldelta.zoom = (figure) => {
    const { layout, data } = figure;
    if (layout.yaxis?.scaleanchor !== "x" || !layout.xaxis?.range || !data.some((trace) => trace.visible === false)) return;
    let far = 0;
    for (const trace of data) {
      if (trace.meta?.model === undefined || trace.visible === false) continue;
      for (const axis of ["x", "y"]) {
        const beyond = trace[`error_${axis}`]?.array;
        (trace[axis] ?? []).forEach((value, i) => { if (value + (beyond?.[i] ?? 0) > far) far = value + (beyond?.[i] ?? 0); });
      }
    }
    if (!(far > 0)) return;
    const root = state.axes === "root";
    const wanted = (1.05 * far / layout.xaxis.range[1]) ** (root ? 2 : 1);
    let part = 1; // of the values that the plane shows
    for (let power = 1; power > 1e-6; power /= 10) for (const step of STEPS) if (step * power >= wanted && step * power < part) part = step * power;
    const near = root ? Math.sqrt(part) : part; // of the axis
    for (const axis of ["xaxis", "yaxis"]) layout[axis].range = layout[axis].range.map((end) => end * near);
    const named = (each) => each.name === index.iso;
    for (const shape of (layout.shapes ?? []).filter(named)) {
      for (const end of ["x0", "x1", "y0", "y1"]) if (end in shape) shape[end] *= near;
      if (shape.path) shape.path = shape.path.replace(/-?[\d.]+(?:e-?\d+)?/g, (value) => String(Number(value) * near));
    }
    for (const note of (layout.annotations ?? []).filter(named)) {
      note.x *= near; note.y *= near;
      const value = Number(note.text.replace("\u2212", "-"));
      if (Number.isFinite(value)) note.text = format.signed(value * part, format.decimals(value * part) - 1);
    }
    if (root) { // ticks were chosen for the whole plane
      const most = 10 ** Math.floor(Math.log10(layout.xaxis.range[1] ** 2));
      let last = layout.xaxis.range[1] * 1.2;
      const kept = [];
      for (let power = most; power > most * 1e-6; power /= 10) {
        for (const value of [5, 2, 1].map((digit) => digit * power)) {
          const at = Math.sqrt(value) / layout.xaxis.range[1];
          if (at <= 1 && last - at > 0.075 && at > 0.075) { kept.push(value); last = at; }
        }
      }
      for (const axis of ["xaxis", "yaxis"]) Object.assign(layout[axis], { tickvals: [0, ...kept.map(Math.sqrt)], ticktext: ["0", ...kept.map((value) => String(Number(value.toPrecision(3))))] });
    }
  };

  const digits = (value) => format.fixed(value, format.decimals(value));

  /** Where a gain or loss lies on the axis of a plane; `units.spaced`. */
  const spaced = (value) => (state.axes === "root" ? Math.sqrt(value) : value);

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
        x: [trace.x[0], spaced(gain / weight)], y: [trace.y[0], spaced(loss / weight)], type: "scatter", mode: "lines+markers",
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
    const n = decimals(gain, loss), unseen = ppldelta.invisible.explained(`${block.names[k]} ${index.families[family].models[m]}`);
    tip.replaceChildren(
      element("b", {}, block.names[k]),
      unseen ? element("span", { class: "quiet" }, unseen) : "",
      element("span", {}, index.families[family].models[m] + (category ? ` · ${category}` : "")),
      element("span", {}, `gain ${fixed(gain, n)}  loss ${fixed(loss, n)}  net ${signed(delta, n)} ${index.units[state.unit]}`),
      element("span", {}, state.fits(ref, cmp)),
      Number.isNaN(kld) ? "" : element("span", {}, `KL divergence ${significant(kld)}  same top ${fixed(100 * same, 1)}\u00a0%`),
      element("span", { class: "quiet" }, `${count(block.n_scored[m][k])} ${index.bits ? "spans" : "scored tokens"}${readable(family, k) ? ", click to read" : ""}`),
    );
    ppldelta.placeTip(event.clientX, event.clientY);
    if (readable(family, k)) ppldelta.preview(tip, { family, k, model: m, x: event.clientX, y: event.clientY });
  }

  const PLACES = { // where a mark lies, in words
    deltas: (x, y) => ((gain, loss) => `about gain ${digits(gain)}, loss ${digits(loss)} ${index.units[state.unit]}`)(...[x, y].map((at) => (state.axes === "root" ? at ** 2 : at))),
    perplexities: (x, y) => `about ${state.fits(x, y)}`,
    divergences: (x, y) => `about KL divergence ${format.significant(x)}, net ${format.signed(y, format.decimals(y))} nats/token`,
  };

  function showHexagon(event, canvas, { x, y, meta }, point, documents) {
    const n = new Set(documents).size;
    tip.replaceChildren(
      format.element("b", {}, `${format.count(documents.length)} marks of ${format.count(n)} document${n === 1 ? "" : "s"}`),
      format.element("span", {}, `most of these marks are of ${meta.model}`),
      format.element("span", {}, PLACES[plots.described(canvas).filling](x[point], y[point])),
      format.element("span", { class: "quiet" }, "click or Enter: select the documents"),
    );
    ppldelta.placeTip(event.clientX, event.clientY);
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

  /** Shows what a mark of documents is, at the place of an event; false for other marks. */
  ppldelta.pointAt = (canvas, { curve, point }, event) => {
    const found = [drawnMarks.get(canvas)?.[curve]?.[point]].flat();
    if (found[0] === undefined) return false;
    const family = Number(canvas.dataset.family), trace = canvas.data[curve];
    if (found.length > 1) showHexagon(event, canvas, trace, point, found);
    else showTip(event, family, found[0], state.modelNumber(family, trace.meta.model));
    return true;
  };

  document.addEventListener("firstdraw", ({ target: canvas }) => {
    if (!plots.described(canvas).selectable) return;
    const family = Number(canvas.dataset.family);
    const marked = (point) => drawnMarks.get(canvas)?.[point.curveNumber]?.[point.pointIndex ?? point.pointNumber];
    canvas.on("plotly_hover", ({ points: [point], event }) => ppldelta.pointAt(canvas, { curve: point.curveNumber, point: point.pointIndex ?? point.pointNumber }, event));
    canvas.on("plotly_unhover", ppldelta.hideTip);
    canvas.on("plotly_click", ({ points: [point] }) => {
      const [k, ...more] = [marked(point)].flat();
      if (k === undefined) return;
      ppldelta.hideTip();
      select(family, new Set([k, ...more]));
      if (!more.length && readable(family, k)) ppldelta.openDocument(family, k, { model: state.modelNumber(family, point.data.meta.model), scroll: true });
    });
    canvas.on("plotly_selected", (event) => {
      if (!event?.points) return;
      select(family, new Set(event.points.flatMap((point) => marked(point) ?? []).filter((k) => k !== undefined)));
    });
    canvas.on("plotly_deselect", () => select(family, null));
  });

  document.getElementById("deselect").addEventListener("click", () => select(0, null));
  document.addEventListener("scroll", ppldelta.hideTip, { capture: true, passive: true });

  plots.fill("deltas", fillMarks((block, k, m) => state.deltas(block, k, m).map(spaced)));
  plots.fill("perplexities", fillMarks(state.perplexities));
  plots.fill("divergences", fillMarks((block, k, m) => {
    const { kld } = state.divergence(block, k, m);
    return [kld > 0 ? kld : NaN, block.gain[m][k] - block.loss[m][k]]; // the axis is logarithmic
  }));
  plots.fill("selection", fillSelection);
})();
