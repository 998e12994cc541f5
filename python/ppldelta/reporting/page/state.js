// What the reader has chosen, and who wants to know: unit, weighting, category, hidden models, selected documents, the
// model in focus, the open document and its token. Panels subscribe; each change names what changed.
ppldelta.state = (() => {
  "use strict";

  const { index } = ppldelta;
  const listeners = [];
  const state = {
    ...index.choice, // unit and weighting
    category: null, // null: all
    shade: "delta",
    hidden: new Set(), // "family/model number"
    selection: null, // { family, documents: Set of document numbers }
    focus: { family: 0, model: 0 },
    selectionDrawn: 0, // counts selections, so that a new one takes the outlines of older ones off the planes
    open: null, // { family, document }
    token: null, // position of the token in view
    stepping: false, // whether it was come to by an arrow key
    tour: null, // its step, from 1 on
    kinds: "delta", // by what the list of kinds is sorted
    strips: "off", // "on": a strip per model under each line
    theme: null, // "light" or "dark", if it was chosen
    dark: false,
    onPaper: false,

    isHidden: (family, model) => state.hidden.has(`${family}/${model}`),
    modelNumber: (family, label) => index.families[family].models.indexOf(label),
    /** The family's number of the category that is shown; null for all categories, -1 if it has none of that name. */
    categoryNumber: (family) => (state.category === null ? null : index.families[family].categories.indexOf(state.category)),

    subscribe(listener) { listeners.push(listener); },
    set(changes) {
      Object.assign(state, changes);
      const what = new Set(Object.keys(changes));
      for (const listener of listeners) listener(what);
    },
  };

  /** The value of a switch as names in the page's data have it (`units.Choice.parts`). */
  state.part = (name) => (name !== "category" ? state[name] : state.category === null ? "" : `=${state.category}`);

  const documents = new Map();
  /** Promise of a family's documents: typed arrays by document, `gain` and `loss` an array for each model. */
  state.documents = (family) => {
    if (!documents.has(family)) {
      documents.set(family, ppldelta.block(`f${family}.documents`).then((block) => {
        const n = block.names.length;
        const rows = (values) => index.families[family].models.map((_, m) => values.subarray(m * n, (m + 1) * n));
        // where records are spans, each model has its own; else these are the same for all
        const either = (values) => (values.length > n ? rows(values) : index.families[family].models.map(() => values));
        const made = { ...block, n, gain: rows(block.gain), loss: rows(block.loss) };
        for (const name of ["n_scored", "n_bytes", "nll_ref"]) made[name] = either(block[name]);
        if (block.kld) Object.assign(made, { kld: rows(block.kld), n_same: rows(block.n_same) });
        made.scale = made.n_scored.map((scored, m) => Float64Array.from(scored, (each, k) => each / Math.LN2 / made.n_bytes[m][k])); // nats/token → bits/byte
        state.loaded.set(family, made);
        return made;
      }));
    }
    return documents.get(family);
  };
  state.loaded = new Map(); // the same, where it is there already

  /** What nats per token of a loaded document are in the unit of the moment. */
  state.scale = (block, k, m, unit = state.unit) => (unit === "bpb" ? block.scale[m][k] : 1);

  /** Gain and loss of a loaded document under a model, in the unit of the moment: an array, since there are many. */
  state.deltas = (block, k, m, unit = state.unit) => {
    const scale = state.scale(block, k, m, unit);
    return [block.gain[m][k] * scale, block.loss[m][k] * scale];
  };

  /** Perplexities of a loaded document under the reference and under a model; in a report in bits per byte, these. */
  state.perplexities = (block, k, m) => {
    const ref = block.nll_ref[m][k], cmp = ref - block.gain[m][k] + block.loss[m][k];
    return [ref, cmp].map((nll) => (index.bits ? nll * block.scale[m][k] : Math.exp(nll)));
  };
  const { fixed, perplexity } = ppldelta.format;
  state.writeFit = index.bits ? (value) => fixed(value, 3) : perplexity;
  /** Both in words. */
  state.fits = (ref, cmp) => `${index.bits ? "bits per byte" : "perplexity"} ${state.writeFit(ref)} \u2192 ${state.writeFit(cmp)}`;

  /** Mean divergence of a loaded document under a model in nats, and at which part of its tokens both find the same
   *  token most probable; NaN where a run has none. */
  state.divergence = (block, k, m) => {
    const kld = block.kld?.[m][k] ?? NaN;
    return { kld, same: Number.isNaN(kld) || block.n_same[m][k] > block.n_scored[m][k] ? NaN : block.n_same[m][k] / block.n_scored[m][k] };
  };

  /** A loaded document's numbers under a model by name: gain, loss and delta in a unit, both perplexities. */
  state.numbers = (family, k, m, unit = state.unit) => {
    const block = state.loaded.get(family);
    const [gain, loss] = state.deltas(block, k, m, unit);
    const [ref, cmp] = state.perplexities(block, k, m);
    return { gain, loss, delta: (block.gain[m][k] - block.loss[m][k]) * state.scale(block, k, m, unit), ref, cmp };
  };
  return state;
})();
