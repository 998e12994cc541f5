// The passages and tokens that moved most under the model in focus, over all documents or those that are selected.
(() => {
  "use strict";

  const { state, format, index, csv } = ppldelta;
  const { element, fixed, signed, count, significant, visible } = format;
  const LISTS = ["best", "worst", "divergent", "tail"].filter((way) => document.getElementById(way)); // the last two of a run with `kld`
  const diverges = (way) => way === "divergent" || way === "tail";

  const rowsOf = (family) => (index.families[family].spans ? "span" : "token");

  const shadeOf = (limits, value) => limits.filter((limit) => value >= limit).length;

  /** A passage with the text around it, without blank lines at its ends; each whole character is shaded by its own value.
   *  `letter` is the class of the shades, by default that of a gain or a loss. */
  function quote(each, letter = null) {
    const { shown, explained } = ppldelta.invisible;
    const parts = each.parts.map(([raw, value]) => {
      const text = shown(raw), unseen = explained(text);
      const shade = shadeOf(letter === "k" ? index.look.kld_shades : index.look.delta_shades, Math.abs(value));
      if (!shade) return unseen ? element("span", { title: unseen }, text) : text;
      const name = `${letter ?? (value > 0 ? "g" : "l")}${shade}`;
      return element("span", { class: name, title: `${signed(value, 2)} nats${unseen ? `; ${unseen}` : ""}` }, text);
    });
    const before = element("span", { class: "quiet" }, shown(each.before).replace(/^\s*\n/, ""));
    const after = element("span", { class: "quiet" }, shown(each.after).replace(/\n\s*$/, ""));
    return element("span", { class: "quote", dir: "auto" }, before, element("mark", {}, ...parts), after);
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
      element("td", { class: "number" }, count(each.n)), element("td", { class: "number" }, count(each.documents)), element("td", { class: "number" }, signed(each.sum, 2)),
      element("td", { class: "number" }, signed(each.sum / each.n, 3)), element("td", { class: "number" }, fixed(each.gain, 2)), element("td", { class: "number" }, fixed(each.loss, 2)),
    ];
    const head = [[row], ["count"], ["documents"], ["Σ delta", "nats"], ["mean", "nats"], ["Σ gain", "nats"], ["Σ loss", "nats"]];
    document.getElementById(place).replaceChildren(entries.length
      ? element("table", {}, element("caption", { class: "hidden" }, title),
        element("thead", {}, element("tr", {}, ...head.map(([text, unit], i) => element("th", { scope: "col", class: i ? "number" : null }, text, unit ? element("small", {}, ` ${unit}`) : null)))),
        element("tbody", {}, ...entries.map((each) => element("tr", {}, ...cells(each)))))
      : element("p", { class: "quiet none" }, "none"));
  }

  /** The selected documents of a family in the category of the moment; null without a selection. */
  function selected(family) {
    const only = state.categoryNumber(family), { category } = state.loaded.get(family);
    return state.selection?.family === family ? [...state.selection.documents].filter((k) => only === null || category[k] === only) : null;
  }

  /** Where the lists are from, in words for their headings; "" for all documents. */
  function within(family) {
    const chosen = selected(family);
    if (!chosen) return "";
    return chosen.length === 1 ? ` in ${state.loaded.get(family).names[chosen[0]]}` : ` in ${count(chosen.length)} selected documents`;
  }

  /** The lists of a family's model, as far as they pass the filters; `left` counts the passages that do not, and
   *  `unfiltered` says of what documents the tokens are where it is not those. */
  async function listsOf(family, model) {
    const [{ passages }, { totals: sums }] = await Promise.all([ppldelta.block(`f${family}.passages`), ppldelta.block(`f${family}.totals`), state.documents(family)]);
    const only = state.categoryNumber(family), { category } = state.loaded.get(family);
    const those = selected(family), chosen = those && new Set(those);
    const anew = chosen && await ppldelta.passagesWithin.among(family, model, chosen);
    const whole = { ...passages[model], ...sums[model], ...anew };
    const key = (each) => `${each.document}.${each.start}.${each.end}`;
    for (const way of anew ? ["best", "worst"] : []) { // the numbers in the page are rounded: the same passage has one sum
      const exact = new Map((passages[model]?.[way] ?? []).map((each) => [key(each), each.sum]));
      whole[way] = anew[way].map((each) => ({ ...each, sum: exact.get(key(each)) ?? each.sum }));
    }
    const passes = (each) => (chosen ? chosen.has(each.document) : only === null || category[each.document] === only);
    const lists = {}, left = {};
    for (const way of LISTS) {
      lists[way] = (whole[way] ?? []).filter(passes);
      left[way] = (whole[way] ?? []).length - lists[way].length;
    }
    for (const way of ["gained", "lost"]) lists[way] = whole[way] ?? [];
    return { lists, left, chosen, anew, unfiltered: anew ? "" : chosen ? "of all documents" : only !== null ? "of all categories" : "" };
  }

  let asked = 0, listed = null; // what is shown, for the files
  async function show() {
    const { family, model } = state.focus, ticket = ++asked;
    let found;
    try {
      found = await listsOf(family, model);
    } catch (error) {
      document.getElementById("best").replaceChildren(element("li", { class: "quiet", role: "alert" }, `The passages cannot be shown: ${error.message}.`));
      return;
    }
    if (ticket !== asked) return;
    const { lists, left, chosen, anew, unfiltered } = found, where = within(family);
    listed = { family, model, lists };
    for (const way of LISTS) {
      const rest = left[way] ? `${lists[way].length ? `${count(left[way])} more` : `All ${count(left[way])}`} of the list are in other ${chosen ? "documents" : "categories"}.` : "none";
      const list = document.getElementById(way);
      list.replaceChildren(...lists[way].map((each) => passage(family, model, way, each)), ...(left[way] || !lists[way].length ? [element("li", { class: "quiet" }, rest)] : []));
      unfold(list);
    }
    for (const way of ["gained", "lost"]) {
      const place = document.getElementById(way);
      place.classList.toggle("of-all", Boolean(unfiltered));
      place.dataset.of = unfiltered;
      totals(way, lists[way], `${index.bits ? "Spans" : "Tokens"} that ${way} most`, rowsOf(family));
    }
    for (const way of [...LISTS, "gained", "lost"]) {
      const heading = document.querySelector(`.heading:has([data-moved="${way}"]) h3`);
      heading.querySelector(".within")?.remove();
      if (where && !(way in sumsNames && unfiltered)) heading.append(element("small", { class: "within" }, where));
    }
    const unread = anew ? chosen.size - anew.read : 0;
    document.getElementById("moved-in").replaceChildren(...(where ? [`Only${where}.`,
      unread ? ` ${count(unread)} of them cannot be read token by token in this file, and these lists leave them out.` : anew ? "" : " These are too many to search anew: the passages are those of the list of all documents that lie in them.",
      element("button", { type: "button", class: "plain" }, "Show all documents")] : []));
  }
  const sumsNames = { gained: true, lost: true };
  document.getElementById("moved-in").addEventListener("click", (event) => { if (event.target.closest("button")) document.getElementById("deselect").click(); });

  /** Passages that are longer than their box get a button that opens the rest. */
  function unfold(list) {
    for (const quoted of list.querySelectorAll(".quote")) {
      if (quoted.scrollHeight <= quoted.clientHeight + 2) continue;
      const button = element("button", { type: "button", class: "plain more", "aria-expanded": "false" }, "more");
      button.addEventListener("click", () => {
        const open = quoted.classList.toggle("open");
        button.setAttribute("aria-expanded", String(open));
        button.textContent = open ? "less" : "more";
      });
      quoted.closest("li").append(button);
    }
  }

  document.addEventListener("click", (event) => {
    const which = event.target.closest?.("[data-moved]")?.dataset.moved;
    if (!which || !listed) return;
    const { family, model, lists } = listed;
    const label = index.families[family].models[model], found = lists[which] ?? [];
    const selected = within(family) ? ["selected documents"] : [];
    if (which in sumsNames) {
      const rows = found.map((each) => [label, each.token, each.text, each.n, each.documents, each.sum, each.gain, each.loss]);
      csv.save(csv.fileName(`${rowsOf(family)}s ${which}`, [], label, ...selected), [["model", "token", "text", "count", "documents", "sum of deltas (nats)", "sum of gains (nats)", "sum of losses (nats)"], ...rows]);
    } else {
      const { names } = state.loaded.get(family);
      const sum = diverges(which) ? "KL divergence (nats)" : "sum of deltas (nats)";
      const rows = found.map((each) => [label, names[each.document], each.start, each.end, each.n, each.sum, each.text]);
      csv.save(csv.fileName(which === "tail" ? "tokens divergent" : `passages ${which}`, ["category"], label, ...selected), [["model", "document", "first position", "last position", `${rowsOf(family)}s`, sum, "text"], ...rows]);
    }
  });

  state.subscribe((what) => { if (["focus", "category", "selection"].some((name) => what.has(name))) show(); });
  ppldelta.passages = { show, quote, again, unfold };
})();
