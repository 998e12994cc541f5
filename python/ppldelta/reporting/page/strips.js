// All models at once: under each line of the text a thin strip for each model that is shown, in the order of its key.
ppldelta.strips = (() => {
  "use strict";

  const { state, index, format } = ppldelta;
  const { delta_shades: BEGIN, shades: PARTS } = index.look;
  const text = document.getElementById("text"), key = document.getElementById("strips-key");
  const APART = 3; // pixels from one strip to the next
  const STRONGER = 15; // per cent: a strip is thinner than the ground of a token

  const modelsOf = (family) => index.families[family].models.map((_, m) => m).filter((m) => !state.isHidden(family, m));

  /** Layers for the background of a unit of a document, that of the first model first; null where there are none. */
  function of(shown, unit) {
    if (state.strips !== "on") return null;
    return modelsOf(shown.family).map((m) => {
      const rows = shown.rowOf(m);
      let sum = 0, before = -1;
      for (let t = unit.first; t <= unit.last; t++) {
        if (rows[t] >= 0 && rows[t] !== before) sum += shown.deltas[m][rows[t]];
        before = rows[t];
      }
      const level = BEGIN.filter((begin) => Math.abs(sum) >= begin).length;
      if (!level) return "linear-gradient(transparent 0 0)";
      const color = `color-mix(in srgb, var(--${sum > 0 ? "gain" : "loss"}) ${Math.min(100, PARTS[level - 1] + STRONGER)}%, transparent)`;
      return sum > 0 ? `linear-gradient(${color} 0 0)` : `repeating-linear-gradient(90deg, ${color} 0 3px, transparent 3px 5px)`; // dashed
    }).join(", ");
  }

  /** Makes room for the strips of a document, and names their models. */
  function prepare({ family }) {
    const models = modelsOf(family);
    text.classList.toggle("stripped", state.strips === "on");
    text.style.setProperty("--strips", models.length);
    text.style.setProperty("--strip-places", models.map((_, n) => `0 calc(100% - ${APART * (models.length - 1 - n)}px)`).join(", "));
    key.hidden = state.strips !== "on";
    const name = (m) => format.element("span", { class: index.classes[family][m], title: index.families[family].models[m] }, format.element("i"), index.short[family][m]);
    key.replaceChildren("Under each line, dashed where it lost, from the top: ", ...models.map(name));
  }

  return { of, prepare };
})();
