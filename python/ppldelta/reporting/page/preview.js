// What a document says where it moved most, for the tip of its mark: the passage with the largest sum of |delta| under the
// model, in the shades of the reader.
(() => {
  "use strict";

  const { index, format } = ppldelta;
  const N = 24; // units of a passage
  const WAIT = 120; // milliseconds that the pointer has to rest on a mark
  let asked = 0;

  function hottest(loaded, model) {
    const heat = loaded.units.map(({ first, last }) => {
      let sum = 0;
      for (let t = first; t <= last; t++) if (loaded.at[t] >= 0) sum += loaded.deltas[model][loaded.at[t]];
      return Number.isFinite(sum) ? sum : 0;
    });
    let sum = 0, most = -1, at = 0;
    heat.forEach((each, u) => {
      sum += Math.abs(each) - (u >= N ? Math.abs(heat[u - N]) : 0);
      if (sum > most + 1e-9) [most, at] = [sum, Math.max(0, u - N + 1)];
    });
    const there = heat.slice(at, at + N), total = (sign) => there.reduce((all, each) => all + Math.max(0, sign * each), 0);
    const { fixed, signed } = format, [gain, loss] = [total(1), total(-1)];
    const label = format.element("span", { class: "tip-label" }, "where it moved most: ", format.element("span", { class: "num" }, `${signed(gain - loss, 2)} nats`), `, gain ${fixed(gain, 2)}, loss ${fixed(loss, 2)}`);
    const text = loaded.units.slice(at, at + N).map((unit, i) => {
      const level = index.look.delta_shades.filter((begin) => Math.abs(heat[at + i]) >= begin).length;
      return format.element("span", { class: level ? `${heat[at + i] > 0 ? "g" : "l"}${level}` : null }, ppldelta.invisible.shown(unit.text).replaceAll("\n", "↵ "));
    });
    return [label, format.element("span", { class: "quote", dir: "auto" }, ...text)];
  }

  /** Adds the hottest passage of a document under a model to a tip, unless it says something else by then. */
  ppldelta.preview = async (tip, { family, k, model, x, y }) => {
    const ticket = ++asked, head = tip.firstChild;
    await new Promise((resolve) => setTimeout(resolve, WAIT));
    if (ticket !== asked || tip.firstChild !== head) return;
    let loaded;
    try { loaded = await ppldelta.opened.load(family, k); } catch { return; } // the reader says why
    if (ticket !== asked || tip.firstChild !== head || tip.hidden) return;
    ppldelta.opened.choose(loaded, model);
    tip.append(...hottest(loaded, model));
    ppldelta.placeTip(x, y);
  };
})();
