// The passages and tokens that moved most under the model in focus, over all documents.
(() => {
  "use strict";

  const { state, format, index, csv } = ppldelta;
  const { element, fixed, signed, count, significant, visible } = format;
  const LISTS = ["best", "worst", "divergent", "tail"].filter((way) => document.getElementById(way)); // the last two of a run with `kld`
  const diverges = (way) => way === "divergent" || way === "tail";

  const rowsOf = (family) => (index.families[family].spans ? "span" : "token");

  const shadeOf = (limits, value) => limits.filter((limit) => value >= limit).length;

  /** A passage with what stands around it, but for blank lines at either end, each whole character shaded by its own value; `letter` is the class of the
   *  shades, by default that of a gain or a loss. */
  function quote(each, letter = null) {
    const { shown, explained } = ppldelta.invisible;
    const parts = each.parts.map(([raw, value]) => {
      const text = shown(raw), unseen = explained(text);
      const shade = shadeOf(letter === "k" ? index.look.kld_shades : index.look.delta_shades, Math.abs(value));
      return shade ? element("span", { class: `${letter ?? (value > 0 ? "g" : "l")}${shade}`, title: `${signed(value, 2)} nats${unseen ? `; ${unseen}` : ""}` }, text) : unseen ? element("span", { title: unseen }, text) : text;
    });
    return element("span", { class: "quote", dir: "auto" }, element("span", { class: "quiet" }, shown(each.before).replace(/^\s*\n/, "")), element("mark", {}, ...parts), element("span", { class: "quiet" }, shown(each.after).replace(/\n\s*$/, "")));
  }
  const again = (each) => (each.times > 1 ? `, the same ${count(each.times - 1)} more time${each.times > 2 ? "s" : ""}` : null);

  function passage(family, model, way, each) {
    const name = state.loaded.get(family).names[each.document];
    const readable = index.families[family].token_documents.includes(each.document);
    const text = quote(each, diverges(way) ? "k" : null);
    const facts = element("span", { class: "facts" }, element("b", {}, `${diverges(way) ? significant(each.sum) : signed(each.sum, 2)} nats`), way === "tail" ? " at a token in " : ` over ${count(each.n)} ${rowsOf(family)}${each.n === 1 ? "" : "s"} in `, element("code", {}, name), again(each));
    return element("li", {}, readable ? element("a", { href: `#read=${family}.${each.document}.${model}.${each.start}` }, facts, text) : element("div", {}, facts, text));
  }

  function totals(place, entries, title, row) {
    const cells = (each) => [
      element("th", { scope: "row" }, element("code", { class: "piece", dir: "auto", title: ppldelta.invisible.explained(visible(each.text)) || null }, visible(each.text) || "(empty)")),
      element("td", { class: "number" }, count(each.n)), element("td", { class: "number" }, signed(each.sum, 2)),
      element("td", { class: "number" }, signed(each.sum / each.n, 3)), element("td", { class: "number" }, fixed(each.gain, 2)), element("td", { class: "number" }, fixed(each.loss, 2)),
    ];
    const head = [[row], ["count"], ["Σ delta", "nats"], ["mean", "nats"], ["Σ gain", "nats"], ["Σ loss", "nats"]];
    document.getElementById(place).replaceChildren(entries.length
      ? element("table", {}, element("caption", { class: "hidden" }, title),
        element("thead", {}, element("tr", {}, ...head.map(([text, unit], i) => element("th", { scope: "col", class: i ? "number" : null }, text, unit ? element("small", {}, ` ${unit}`) : null)))),
        element("tbody", {}, ...entries.map((each) => element("tr", {}, ...cells(each)))))
      : element("p", { class: "quiet none" }, "none"));
  }

  async function show() {
    const { family, model } = state.focus;
    let passages, sums;
    try {
      [passages, sums] = await Promise.all([ppldelta.block(`f${family}.passages`), ppldelta.block(`f${family}.totals`), state.documents(family)]);
    } catch (error) {
      document.getElementById("best").replaceChildren(element("li", { class: "quiet", role: "alert" }, `The passages cannot be shown: ${error.message}.`));
      return;
    }
    if (family !== state.focus.family || model !== state.focus.model) return;
    const only = state.categoryNumber(family), { category } = state.loaded.get(family);
    for (const way of LISTS) {
      const listed = passages.passages[model]?.[way] ?? [];
      const found = only === null ? listed : listed.filter((each) => category[each.document] === only);
      const left = listed.length - found.length;
      document.getElementById(way).replaceChildren(
        ...found.map((each) => passage(family, model, way, each)),
        ...(left || !found.length ? [element("li", { class: "quiet" }, left ? `${found.length ? `${count(left)} more` : `All ${count(left)}`} of the list are in other categories.` : "none")] : []),
      );
    }
    for (const place of ["gained", "lost"]) document.getElementById(place).classList.toggle("of-all", only !== null);
    totals("gained", sums.totals[model]?.gained ?? [], "Tokens that gained most", rowsOf(family));
    totals("lost", sums.totals[model]?.lost ?? [], "Tokens that lost most", rowsOf(family));
  }

  document.addEventListener("click", async (event) => {
    const which = event.target.closest?.("[data-moved]")?.dataset.moved;
    if (!which) return;
    const { family, model } = state.focus;
    const label = index.families[family].models[model];
    if (which === "gained" || which === "lost") { // of all categories, as the page says
      const { totals: all } = await ppldelta.block(`f${family}.totals`);
      const rows = all[model][which].map((each) => [label, each.token, each.text, each.n, each.sum, each.gain, each.loss]);
      csv.save(csv.fileName(`${rowsOf(family)}s ${which}`, [], label), [["model", "token", "text", "count", "sum of deltas (nats)", "sum of gains (nats)", "sum of losses (nats)"], ...rows]);
    } else {
      const { passages } = await ppldelta.block(`f${family}.passages`);
      const { names, category } = await state.documents(family);
      const only = state.categoryNumber(family);
      const sum = diverges(which) ? "KL divergence (nats)" : "sum of deltas (nats)";
      const listed = passages[model][which].filter((each) => only === null || category[each.document] === only);
      const rows = listed.map((each) => [label, names[each.document], each.start, each.end, each.n, each.sum, each.text]);
      csv.save(csv.fileName(which === "tail" ? "tokens divergent" : `passages ${which}`, ["category"], label), [["model", "document", "first position", "last position", `${rowsOf(family)}s`, sum, "text"], ...rows]);
    }
  });

  state.subscribe((what) => { if (what.has("focus") || what.has("category")) show(); });
  ppldelta.passages = { show, quote, again };
})();
