// Shows the tables and sentences on models that views.py made for what the reader has chosen, without hidden models. A
// click on a heading sorts a table, and a button saves it.
ppldelta.tables = (() => {
  "use strict";

  const { state, format, index, plots, csv } = ppldelta;
  const { element } = format;
  const shown = new Map(); // table or list → the view that it shows, by name
  let views = null; // promise of the block
  let showing = null; // promise of what is being shown

  /** The view of the moment of what follows some switches; `views.key`. */
  const keyOf = (follows) => follows.map(state.part).join("/");
  const usual = Object.fromEntries(Object.entries(index.views).map(([name, follows]) => [name, keyOf(follows)]));

  function cell([text, sort, note = "", kind = "number", color = "", href = "", low, high]) {
    const tag = kind === "model" ? "th" : "td";
    return element(tag, { scope: tag === "th" ? "row" : null, class: `${kind} ${color}`, title: kind === "model" && sort !== text ? sort : null, "data-sort": sort ?? "", "data-low": low, "data-high": high },
      kind === "model" ? element("i") : null, href ? element("a", { href }, text) : element("span", {}, text), note ? element("small", {}, note) : null);
  }

  function fill(table, view) {
    const head = table.tHead.rows[0];
    const sorted = [...head.cells].find((each) => each.ariaSort !== "none");
    const [title, order] = [sorted?.querySelector("button").firstChild.textContent, sorted?.ariaSort];
    const columns = view?.columns ?? [];
    if (view) {
      head.replaceChildren(...columns.map(([text, unit, help, kind, name]) => element("th", { scope: "col", class: kind, "data-column-name": name, "aria-sort": "none" },
        element("button", { type: "button", title: help }, text, unit ? element("small", {}, unit) : null))));
    }
    table.tBodies[0].replaceChildren(...(view?.rows ?? []).map(([family, model, category, cells]) => element("tr",
      { "data-of-model": JSON.stringify([family, model]), "data-of-category": category }, ...cells.map(cell))));
    const again = [...head.cells].find((each) => each.querySelector("button").firstChild.textContent === title);
    if (sorted && again) arrange(again, order);
  }

  function tell(list, said) {
    list.replaceChildren(...[...list.children].map((item, m) => {
      const made = item.cloneNode(false);
      const pieces = said[m];
      made.append(...(pieces.length ? pieces.map(format.piece) : [element("code", {}, JSON.parse(item.dataset.ofModel)[1]), " has no documents in this category."]));
      return made;
    }));
  }

  /** What a table rests on, in words. */
  function scope(name) {
    const follows = index.views[name];
    const what = !follows.includes("category") ? "" : state.category === null ? "All documents, " : `Only ${state.category || "documents without category"}, `;
    const weighed = state.weighting === "documents" ? "document" : index.bits || state.unit === "bpb" ? "byte" : "token";
    const few = follows.includes("category") ? index.few[state.part("category")] : "";
    const text = `${what}every ${weighed} weighs the same${few ? `; ${few}` : ""}.`;
    return text[0].toUpperCase() + text.slice(1);
  }

  /** Rows and sentences of hidden models and, where a table has every category, those of others than the chosen one. */
  function hide() {
    for (const each of document.querySelectorAll("[data-of-model]")) {
      const [family, label] = JSON.parse(each.dataset.ofModel);
      const other = state.category !== null && "ofCategory" in each.dataset && each.dataset.ofCategory !== state.category;
      each.hidden = other || state.isHidden(family, state.modelNumber(family, label));
    }
  }

  async function show() {
    const wanted = new Map([...document.querySelectorAll("table[data-view]")].map((table) => [table, table.dataset.view]));
    const lists = index.views.sentences ? [...document.querySelectorAll("#head .findings")] : [];
    for (const list of lists) wanted.set(list, "sentences");
    const due = [...wanted].filter(([place, name]) => keyOf(index.views[name]) !== (shown.get(place) ?? usual[name]));
    if (due.length) {
      views ??= ppldelta.block("views");
      const { tables, sentences } = await views;
      for (const [place, name] of due) {
        const key = keyOf(index.views[name]);
        shown.set(place, key);
        if (name === "sentences") tell(place, sentences[key][lists.indexOf(place)]);
        else fill(place, tables[name][key]);
      }
    }
    for (const each of document.querySelectorAll(".scope")) each.textContent = scope(each.dataset.view);
    for (const each of document.querySelectorAll(".of-everything")) each.hidden = state.category === null;
    for (const canvas of plots.canvases) { // figures that follow no category
      const caption = plots.described(canvas).whole && canvas.parentNode.querySelector("figcaption");
      if (!caption) continue;
      caption.querySelector(".whole")?.remove();
      if (state.category !== null) caption.append(element("span", { class: "quiet whole" }, " · all documents"));
    }
    hide();
  }

  function arrange(heading, order) {
    const column = [...heading.parentNode.children].indexOf(heading);
    const numeric = heading.classList.contains("number");
    for (const each of heading.parentNode.children) each.setAttribute("aria-sort", each === heading ? order : "none");
    const sign = order === "ascending" ? 1 : -1;
    const body = heading.closest("table").tBodies[0];
    const value = (row) => row.children[column].dataset.sort;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // what is unknown comes last
      return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
    };
    body.append(...[...body.rows].sort(compare));
  }

  function sort(button) {
    const heading = button.closest("th");
    const numeric = heading.classList.contains("number");
    const first = numeric ? "descending" : "ascending";
    arrange(heading, heading.getAttribute("aria-sort") === first ? (numeric ? "ascending" : "descending") : first);
  }

  async function save(button) {
    const table = button.closest(".tools").nextElementSibling.querySelector("table");
    const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    const what = button.dataset.file.replace(/\.csv$/, "");
    const name = table.dataset.view;
    if (name) {
      views ??= ppldelta.block("views");
      const all = (await views).tables[name];
      const follows = index.views[name];
      const inUnit = (unit) => all[follows.map((each) => (each === "unit" ? unit : state.part(each))).join("/")];
      const units = [state.unit, ...Object.keys(index.units).filter((unit) => unit !== state.unit)]; // the unit of the moment comes first
      const wanted = rows.map((row) => [...JSON.parse(row.dataset.ofModel), row.dataset.ofCategory]);
      csv.save(csv.fileName(what, ["weighting", "category", "hidden"]), csv.lines([...new Set(units.map(inUnit))].filter(Boolean), wanted));
      return;
    }
    const columns = [...table.tHead.rows[0].cells].map((heading, i) => ({ name: heading.dataset.columnName, ends: rows.some(({ cells }) => cells[i].dataset.low) }));
    const wide = (value) => columns.flatMap(({ name: column, ends }, i) => [value(i, column, "sort"), ...(ends ? [value(i, column, "low"), value(i, column, "high")] : [])]);
    csv.save(csv.fileName(what, ["category", "hidden"]), [
      wide((i, column, which) => csv.heading(column, which === "sort" ? "" : which)),
      ...rows.map(({ cells }) => wide((i, column, which) => cells[i].dataset[which])),
    ]);
  }

  state.subscribe((what) => { if (["unit", "weighting", "category", "hidden"].some((name) => what.has(name))) showing = show(); });
  return { shown: () => showing, sort, save };
})();
