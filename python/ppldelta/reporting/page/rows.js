// The table of documents: a row for each document under each model that passes the filters, of which only those in view
// are in the page; sorted and searched in memory.
(() => {
  "use strict";

  const { state, format, index, csv } = ppldelta;
  const { element, fixed, signed, count, decimals, significant } = format;
  const box = document.getElementById("documents-table");
  const find = document.getElementById("find");
  const ROW = index.look.row; // pixels
  const several = index.families.length > 1;
  const ON_PAPER = 400; // rows
  let rows = []; // [family, document, model]
  let digits = 3; // of gain, loss and delta, one number for all rows
  let drawn = ""; // which rows stand in the page
  const quants = index.quants.flat().length; // which have a damage, unless rows are spans
  const allQuants = quants > 0 && index.families.every(({ models }, f) => index.quants[f].length === models.length);

  const damage = (f, k, m, unit) => { const { gain, loss } = state.numbers(f, k, m, unit); return gain + loss; };
  const COLUMNS = [ // title, column of `schema.DOCUMENTS`, value to sort by and for CSV, how it is shown
    ["document", "document", (f, k) => state.loaded.get(f).names[k], null],
    ["category", "category", (f, k) => index.families[f].categories[state.loaded.get(f).category[k]], null],
    ["model", "model", (f, k, m) => index.families[f].models[m], null],
    [index.bits ? "spans" : "tokens", "n_scored", (f, k, m) => state.loaded.get(f).n_scored[m][k], count],
    [index.bits ? "bpb ref" : "ppl ref", index.bits ? "bpb_ref" : "ppl_ref", (f, k, m) => state.numbers(f, k, m).ref, state.writeFit],
    [index.bits ? "bpb model" : "ppl model", index.bits ? "bpb_cmp" : "ppl_cmp", (f, k, m) => state.numbers(f, k, m).cmp, state.writeFit],
    ["gain", "gain", (f, k, m) => state.numbers(f, k, m).gain, (value) => fixed(value, digits)],
    ["loss", "loss", (f, k, m) => state.numbers(f, k, m).loss, (value) => fixed(value, digits)],
    ["net", "delta", (f, k, m) => state.numbers(f, k, m).delta, (value) => signed(value, digits)],
  ];
  if (quants && !index.bits) COLUMNS.push(["damage", "damage", damage, (value) => fixed(value, digits)]);
  // first what the verdict is about: damage where all models are quants, else the change; short documents come last as long as it is usual
  let sorted = { column: COLUMNS.findIndex(([, name]) => name === (allQuants && !index.bits ? "damage" : "delta")), sign: allQuants && !index.bits ? -1 : 1, usual: true };
  if (index.divergence_steps) {
    const of = (name) => (f, k, m) => state.divergence(state.loaded.get(f), k, m)[name];
    box.classList.add("diverging");
    COLUMNS.push(["KL divergence", "kld", of("kld"), significant], ["same top", "same_top", of("same"), (value) => (Number.isNaN(value) ? fixed(value) : `${fixed(100 * value, 1)}\u00a0%`)]);
  }

  const IN_UNIT = ["gain", "loss", "delta", "damage"]; // those that follow the unit of the moment
  const UNITS = { ...Object.fromEntries(IN_UNIT.map((name) => [name, index.units[state.unit]])), kld: "nats/token" };
  const head = element("tr", {}, ...COLUMNS.map(([title, name, , show], i) => element(
    "th", { scope: "col", class: show ? "number" : "name", "aria-sort": "none" },
    element("button", { type: "button", title: index.columns[name], "data-column": i }, title, UNITS[name] === undefined ? null : element("small", { "data-unit-of": name }, UNITS[name])),
  )));
  const nameUnits = () => { for (const each of head.querySelectorAll("[data-unit-of]")) if (IN_UNIT.includes(each.dataset.unitOf)) each.textContent = index.units[state.unit]; };
  const [above, below] = [0, 1].map(() => element("tr", { "aria-hidden": "true" }, element("td", { colspan: COLUMNS.length })));
  const body = element("tbody", {});
  const table = element("table", { class: "virtual" }, element("thead", {}, head), body);
  box.append(table);
  const left = element("p", { class: "note paper" }); // what a printed table leaves out
  box.after(left);

  const lower = (text) => text.toLocaleLowerCase();
  const labels = index.families.map((family) => family.models.map((model) => lower(several ? `${family.name} ${model}` : model)));

  function collect() {
    const wanted = lower(find.value).split(/\s+/).filter(Boolean); // each in the document's name or in the model's
    rows = [];
    let most = 0;
    const documents = new Set(), models = new Set();
    index.families.forEach((family, f) => {
      const block = state.loaded.get(f);
      if (!block || (state.selection && state.selection.family !== f)) return;
      const only = state.categoryNumber(f);
      const shown = family.models.map((_, m) => m).filter((m) => !state.isHidden(f, m));
      for (let k = 0; k < block.n; k++) {
        if (only !== null && block.category[k] !== only) continue;
        if (state.selection && !state.selection.documents.has(k)) continue;
        const name = wanted.length ? lower(block.names[k]) : "";
        const rest = wanted.filter((word) => !name.includes(word));
        for (const m of shown) {
          if (!Number.isFinite(block.gain[m][k]) || !rest.every((word) => labels[f][m].includes(word))) continue;
          rows.push([f, k, m]);
          documents.add(several ? block.names[k] : k); // families share documents
          models.add(`${f}/${m}`);
          most = Math.max(most, ...state.deltas(block, k, m));
        }
      }
    });
    digits = decimals(most);
    drawn = "";
    nameUnits();
    const [, , value, show] = COLUMNS[sorted.column];
    const keys = (show ? Float64Array : Array).from(rows, (row) => value(...row));
    const compare = show
      ? (a, b) => sorted.sign * (keys[a] - keys[b]) || Number.isNaN(keys[a]) - Number.isNaN(keys[b]) || a - b
      : (a, b) => sorted.sign * (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0) || a - b;
    const short = Uint8Array.from(rows, ([f, k, m]) => state.loaded.get(f).n_scored[m][k] < index.marks.short);
    const collected = rows;
    rows = Array.from(Uint32Array.from(rows.keys()).sort(sorted.usual ? (a, b) => short[a] - short[b] || compare(a, b) : compare),
      (n) => collected[n]); // numbers sort faster than rows
    [...head.children].forEach((cell, i) => cell.setAttribute("aria-sort", i === sorted.column ? (sorted.sign > 0 ? "ascending" : "descending") : "none"));
    const things = (n, thing) => `${count(n)} ${thing}${n === 1 ? "" : "s"}`;
    const whole = documents.size * models.size === rows.length;
    document.getElementById("rows").textContent = rows.length === 0 ? `no ${state.selection ? "selected " : ""}document or model matches`
      : models.size === 1 ? things(documents.size, "document") : whole ? `${things(documents.size, "document")} × ${things(models.size, "model")}` : `${things(documents.size, "document")}, ${things(rows.length, "row")}`;
    box.scrollTop = 0;
    render();
    const cell = head.children[sorted.column], name = head.children[0]; // the sorted column is in view, beside the names
    const beside = cell.offsetLeft - name.offsetWidth < box.scrollLeft || cell.offsetLeft + cell.offsetWidth > box.scrollLeft + box.clientWidth;
    if (cell !== name && beside) box.scrollLeft = cell.offsetLeft + cell.offsetWidth - box.clientWidth;
  }

  function render() {
    const first = state.onPaper ? 0 : Math.max(0, Math.floor(box.scrollTop / ROW) - 8);
    const last = Math.min(rows.length, state.onPaper ? ON_PAPER : first + Math.ceil(box.clientHeight / ROW) + 20);
    const wanted = `${first} ${last} ${JSON.stringify(state.open)} ${JSON.stringify(state.focus)}`;
    if (wanted === drawn) return; // a link in a row keeps the focus
    drawn = wanted;
    left.textContent = rows.length > last && state.onPaper ? `The first ${count(last)} of ${count(rows.length)} rows, sorted by ${COLUMNS[sorted.column][0]}. The page on a screen has all, and saves them as CSV.` : "";
    above.style.height = `${first * ROW}px`;
    below.style.height = `${(state.onPaper ? 0 : rows.length - last) * ROW}px`;
    table.setAttribute("aria-rowcount", rows.length + 1);
    const open = state.open;
    body.replaceChildren(above, ...rows.slice(first, last).map(([f, k, m], i) => {
      const family = index.families[f];
      const cells = COLUMNS.map(([title, , value, show], column) => {
        const shown = show ? show(value(f, k, m)) : value(f, k, m);
        if (column === 0) {
          const category = family.categories[state.loaded.get(f).category[k]];
          const of = element("small", { class: `of ${index.classes[f][m]}` }, element("i"), [index.short[f][m], category].filter(Boolean).join(" · "));
          const name = family.token_documents.includes(k)
            ? element("a", { href: `#read=${f}.${k}.${m}` }, shown)
            : element("span", { title: "The tokens of this document are not in this file" }, shown);
          return element("th", { scope: "row", class: "document", title: [several ? `${family.name}: ${shown}` : shown, ppldelta.invisible.explained(shown)].filter(Boolean).join("; ") }, name, of);
        }
        if (title === "model") return element("td", { class: `model ${index.classes[f][m]}`, title: shown }, element("i"), index.short[f][m]);
        return element("td", { class: show ? "number" : "name" }, shown || (show ? "" : "(none)"));
      });
      const current = open && open.family === f && open.document === k && state.focus.model === m;
      const faint = state.loaded.get(f).n_scored[m][k] < index.marks.short;
      return element("tr", { "aria-rowindex": first + i + 2, class: `${current ? "current" : ""}${faint ? " faint" : ""}` || null }, ...cells);
    }), below);
  }

  head.addEventListener("click", (event) => {
    const column = Number(event.target.closest("button")?.dataset.column ?? -1);
    if (column < 0) return;
    const natural = COLUMNS[column][3] ? -1 : 1;
    sorted = { column, sign: sorted.column === column ? -sorted.sign : natural };
    collect();
  });
  box.addEventListener("scroll", () => window.requestAnimationFrame(render), { passive: true });
  let typing;
  find.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(collect, 120); });
  document.getElementById("documents-csv").addEventListener("click", () => {
    const units = [state.unit, ...Object.keys(index.units).filter((unit) => unit !== state.unit)].filter((unit) => unit === "bpb" || !index.bits);
    const fits = index.bits ? [] : ["bpb_ref", "bpb_cmp"].map((name, i) => [name, (f, k, m) => Math.log(state.perplexities(state.loaded.get(f), k, m)[i]) * state.scale(state.loaded.get(f), k, m, "bpb")]);
    const columns = [
      ["family", (f) => index.families[f].name],
      ...COLUMNS.filter(([, name]) => !IN_UNIT.includes(name)).map(([, name, value]) => [name, value]), ...fits,
      ...units.flatMap((unit) => COLUMNS.filter(([, name]) => IN_UNIT.includes(name)).map(([, name]) => [unit === "bpb" ? `${name}_bpb` : name, name === "damage" ? (f, k, m) => damage(f, k, m, unit) : (f, k, m) => state.numbers(f, k, m, unit)[name]])),
    ];
    const known = (value) => (Number.isNaN(value) ? "" : value);
    const more = [state.selection ? "selected" : "", find.value];
    csv.save(csv.fileName("documents", ["category", "hidden"], ...more), [columns.map(([name]) => csv.heading(name)), ...rows.map((row) => columns.map(([, value]) => known(value(...row))))]);
  });

  ppldelta.rows = { collect, render };
  state.subscribe((what) => {
    if (["unit", "category", "hidden", "selection"].some((each) => what.has(each))) collect();
    else if (["open", "focus"].some((each) => what.has(each))) render();
  });
})();
