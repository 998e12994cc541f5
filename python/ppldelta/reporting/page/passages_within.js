// Passages and tokens that moved most within the selected documents, and within the open one, where two buttons step
// through them. The search of spans.py stands here again: the page cannot ask Python about documents that a reader
// selects.
ppldelta.passagesWithin = (() => {
  "use strict";

  const { index, state, format } = ppldelta;
  const { longest: LONGEST, most: MOST, most_tokens: MOST_TOKENS, context: CONTEXT } = index.passages; // as for the lists of all documents
  const DOCUMENTS = 100; // that are read for a selection

  /** What each unit of text sums up to in nats; NaN where nothing was scored. */
  const sumsOf = (loaded, m) => Float64Array.from(loaded.units, ({ first, last }) => {
    let sum = NaN;
    for (let t = first; t <= last; t++) if (loaded.at[t] >= 0) sum = (Number.isNaN(sum) ? 0 : sum) + loaded.deltas[m][loaded.at[t]];
    return sum;
  });

  /** How many tokens were scored before each unit, and in all. */
  const countsOf = (loaded) => loaded.units.reduce((counts, { first, last }) => {
    let n = counts.at(-1);
    for (let t = first; t <= last; t++) n += loaded.at[t] >= 0;
    counts.push(n);
    return counts;
  }, [0]);

  /** The runs of units with the largest sum, none over another: [first, last, sum], by falling sum. */
  function runs(sums, counts, most = MOST) {
    const values = Float64Array.from(sums), found = [];
    const before = new Float64Array(values.length + 1); // sums before each unit, of those that follow one another
    while (found.length < most) {
      let best = null, starts = [];
      for (let j = 0; j < values.length; j++) {
        if (Number.isNaN(values[j])) { starts = []; before[j + 1] = 0; continue; }
        while (starts.length && before[starts.at(-1)] >= before[j] - 1e-9) starts.pop();
        starts.push(j);
        while (counts[j + 1] - counts[starts[0]] > LONGEST && starts.length > 1) starts.shift();
        before[j + 1] = before[j] + values[j];
        const sum = before[j + 1] - before[starts[0]];
        if (sum > Math.max(best?.[2] ?? 0, 0) + 1e-9) best = [starts[0], j, sum];
      }
      if (!best) break;
      found.push(best);
      values.fill(NaN, best[0], best[1] + 1);
    }
    return found;
  }

  /** The passages of a loaded document with the largest sum (`sign` 1) or the smallest (-1), as the page's lists have them. */
  function of(loaded, m, sign, most = MOST) {
    const { units } = loaded, sums = sumsOf(loaded, m), counts = countsOf(loaded);
    const text = (from, to) => units.slice(Math.max(0, from), Math.max(0, to)).map((unit) => unit.text).join("");
    return runs(sums.map((sum) => sign * sum), counts, most).map(([first, last, sum]) => {
      const place = (t) => (loaded.complete ? t : loaded.positions[t]);
      return {
        document: loaded.k,
        units: [first, last],
        start: place(units[first].first),
        end: place(units[last].last),
        sum: sign * sum,
        n: counts[last + 1] - counts[first],
        times: 1,
        before: text(first - CONTEXT, first).slice(-CONTEXT),
        text: text(first, last + 1),
        after: text(last + 1, last + 1 + CONTEXT).slice(0, CONTEXT),
        parts: units.slice(first, last + 1).map((unit, i) => [unit.text, sums[first + i] || 0]),
      };
    });
  }

  function added(totals, loaded, m) { // tokens that split a character count together
    const sums = sumsOf(loaded, m);
    loaded.units.forEach(({ text }, u) => {
      if (Number.isNaN(sums[u])) return;
      if (!totals.has(text)) totals.set(text, { token: "", text, n: 0, documents: 0, sum: 0, gain: 0, loss: 0, last: -1 });
      const each = totals.get(text);
      each.n += 1;
      each.sum += sums[u];
      each[sums[u] > 0 ? "gain" : "loss"] += Math.abs(sums[u]);
      if (each.last !== loaded.k) each.documents += 1;
      each.last = loaded.k;
    });
  }

  const different = (found, sign) => { // equal ones are one
    const byText = new Map();
    for (const each of found.sort((a, b) => sign * (b.sum - a.sum))) {
      const key = each.text.trim();
      if (byText.has(key)) byText.get(key).times += 1; else byText.set(key, each);
    }
    return [...byText.values()].slice(0, MOST);
  };

  /** Promise of what moved most in some documents of a family under a model: `best`, `worst`, `gained` and `lost` as the
   *  page's blocks have them, and how many documents were `read`; null if they are too many. */
  async function among(family, m, documents) {
    const readable = new Set(index.families[family].token_documents);
    const chosen = [...documents].filter((k) => readable.has(k));
    if (chosen.length > DOCUMENTS) return null;
    const totals = new Map(), best = [], worst = [];
    for (const k of chosen) {
      const loaded = await ppldelta.opened.load(family, k);
      ppldelta.opened.choose(loaded, m);
      best.push(...of(loaded, m, 1));
      worst.push(...of(loaded, m, -1));
      added(totals, loaded, m);
    }
    const listed = (sign) => [...totals.values()].filter(({ sum }) => sign * sum > 0).sort((a, b) => sign * (b.sum - a.sum)).slice(0, MOST_TOKENS);
    return { best: different(best, 1), worst: different(worst, -1), gained: listed(1), lost: listed(-1), read: chosen.length };
  }

  // --- those of the open document, one after the other --------------------------------------------------------------

  let turn = { of: "", way: "", at: -1 };
  function unmark() {
    for (const mark of document.querySelectorAll("#text .passage")) mark.classList.remove("passage");
  }
  function jump(way) {
    const shown = ppldelta.reader.view();
    if (!shown) return;
    const key = `${shown.family}.${shown.k}.${shown.model}`, found = of(shown, shown.model, way === "best" ? 1 : -1);
    if (!found.length) return;
    turn = { of: key, way, at: turn.of === key && turn.way === way ? (turn.at + 1) % found.length : 0 };
    const each = found[turn.at], [first, last] = each.units;
    ppldelta.reader.goTo(first);
    unmark();
    for (let u = first; u <= last; u++) ppldelta.text.mark(u).classList.add("passage");
    const over = `${format.count(each.n)} ${shown.spans ? "span" : "token"}${each.n === 1 ? "" : "s"}`;
    const said = `${way} passage ${turn.at + 1} of ${found.length}: ${format.signed(each.sum, 2)} nats over ${over}`;
    const dot = format.element("span", { class: "dot" }, " · ");
    document.getElementById("detail").prepend(format.element("b", { class: "passage-sum" }, said), dot);
  }
  document.addEventListener("click", (event) => {
    const way = event.target.closest?.("[data-passage]")?.dataset.passage;
    if (way) jump(way);
  });
  state.subscribe((what) => { if (what.has("open") || what.has("focus")) unmark(); });

  return { of, among };
})();
