// A document for the reader: its tokens and numbers, and where rows are spans of text, those of the model in view.
ppldelta.opened = (() => {
  "use strict";

  const { index } = ppldelta;

  /** Promise of a document of a family; `choose` has to put a model into view. */
  async function load(family, k) {
    const wanted = [ppldelta.block(`f${family}.d${k}`), ppldelta.block(`f${family}.pieces`), ppldelta.details.load(family, k)];
    const [block, pieces, detail] = await Promise.all(wanted);
    const { spans = false } = index.families[family];
    const models = index.families[family].models;
    const n = spans ? block.nll_ref.length / models.length : block.nll_ref.length;
    const rows = (values) => models.map((_, m) => values.subarray(m * n, (m + 1) * n));
    const positions = new Uint32Array(n);
    const at = new Int32Array(block.token.length).fill(-1); // token → scored token
    let i = 0;
    block.start.forEach((start, run) => {
      for (let pos = start; pos < start + block.length[run]; pos++) {
        positions[i] = pos;
        at[block.header.complete === false ? i : pos] = i++;
      }
    });
    const { steps } = index;
    const inNats = (values, none, step) => Float32Array.from(values, (value) => (value === none ? NaN : value * step));
    const nll = spans ? null : inNats(block.nll_ref, steps.nll_none, steps.nll);
    const nlls = spans ? rows(block.nll_ref) : models.map(() => nll);
    const deltas = spans ? rows(block.delta) : rows(block.delta).map((values) => inNats(values, steps.delta_none, steps.delta));
    const bytes = (token) => pieces.bytes.subarray(pieces.offset[token], pieces.offset[token + 1]);
    const loaded = { family, k, positions, at, deltas, detail, nlls, spans: null, complete: block.header.complete !== false };
    loaded.units = loaded.characters = ppldelta.characters(block.token, bytes);
    loaded.sizes = Uint32Array.from(block.token, (token) => pieces.offset[token + 1] - pieces.offset[token]);
    if (spans) loaded.spans = { ref: rows(block.n_ref), cmp: rows(block.n_cmp) };
    const covering = new Map(); // model → for each token the row that covers it, -1 where none does
    loaded.rowOf = (m) => {
      if (!spans) return at;
      if (!covering.has(m)) {
        const found = new Int32Array(at.length).fill(-1);
        loaded.spans.ref[m].forEach((n_ref, i) => { if (n_ref) found.fill(i, positions[i], positions[i] + n_ref); });
        covering.set(m, found);
      }
      return covering.get(m);
    };
    return loaded;
  }

  /** Puts a model into view: its rows, and where these are spans of several tokens, each of them as one unit of text. */
  function choose(loaded, m) {
    const { spans, positions } = loaded;
    loaded.model = m;
    loaded.nll = loaded.nlls[m];
    loaded.rows = Array.from(positions.keys());
    if (spans) {
      loaded.rows = loaded.rows.filter((i) => spans.ref[m][i]);
      loaded.at.fill(-1);
      const last = new Int32Array(loaded.at.length).fill(-1); // token → last token of its span
      for (const i of loaded.rows) {
        loaded.at[positions[i]] = i;
        last.fill(positions[i] + spans.ref[m][i] - 1, positions[i], positions[i] + spans.ref[m][i]);
      }
      loaded.units = [];
      let until = -1;
      for (const unit of loaded.characters) {
        const open = loaded.units.at(-1);
        if (open && unit.first <= until) Object.assign(open, { last: unit.last, text: open.text + unit.text });
        else loaded.units.push({ ...unit });
        for (let t = unit.first; t <= unit.last; t++) until = Math.max(until, last[t]);
      }
    }
    loaded.n = loaded.rows.length;
  }

  return { load, choose };
})();
