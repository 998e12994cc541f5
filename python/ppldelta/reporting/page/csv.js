// What the page saves: names of files that say what the reader chose, headings in the page's words, and tables that have
// each unit and a row for each reference.
ppldelta.csv = (() => {
  "use strict";

  const { state, index, format } = ppldelta;
  const slug = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  const named = (...parts) => parts.map(slug).filter(Boolean).join("-");
  const UNITS = { nats: "nats-per-token", bpb: "bits-per-byte" };

  /** The name of a file without its ending: what it is, and what was chosen of the switches that it follows. */
  function fileName(what, follows, ...more) {
    const shown = index.families.flatMap(({ models }, f) => models.map((_, m) => !state.isHidden(f, m)));
    const n = shown.filter(Boolean).length;
    const category = state.category === null ? "" : state.category || "without category";
    const chosen = {
      category,
      unit: state.unit === index.choice.unit ? "" : UNITS[state.unit],
      weighting: state.weighting === "documents" ? "by document" : "",
      hidden: n < shown.length ? `${n} of ${shown.length} models` : "",
    };
    const parts = Object.entries(chosen).map(([change, words]) => (follows.includes(change) ? words : ""));
    return named(what, ...parts, ...more);
  }

  /** A column's heading; `end` is "low" or "high" of its interval. */
  function heading(column, end = "") {
    const [words, unit] = index.csv[column] ?? [column, ""];
    return `${words}${end && ` ${end}`}${unit && ` (${unit})`}`;
  }

  const ZERO = /^(gain|loss|delta|damage)(_bpb)?$|^kld|^dp_/, ONE = /^(same_top|ppl_ratio)$/; // of a reference against itself

  /** The rows of a table in each unit as lists of cells, with headings: `wanted` are the rows in view as [family, model, category]. */
  function lines(views, wanted) {
    const columns = new Map(); // name → for each row its cell, by key
    const key = (family, model, category) => JSON.stringify([family, model, category ?? null]);
    const pairs = new Set(); // columns with intervals
    for (const view of views) {
      view.columns.forEach(([, , , , name], i) => {
        if (columns.has(name)) return;
        const cells = new Map(view.rows.map(([f, model, category, each]) => [key(f, model, category), each[i]]));
        if ([...cells.values()].some((cell) => Number.isFinite(cell[6]))) pairs.add(name);
        columns.set(name, cells);
      });
    }
    const names = [...columns.keys()];
    const value = (row, name, at = 1) => columns.get(name).get(key(...row))?.[at] ?? "";
    const wide = (of) => names.flatMap((name) => [of(name, 1), ...(name === "model" ? [of("role", 1)] : []), ...(pairs.has(name) ? [of(name, 6), of(name, 7)] : [])]);
    const head = wide((name, at) => (name === "role" ? "role" : heading(name, { 6: "low", 7: "high" }[at])));
    const about = new Map(wanted.map(([family, , category]) => [`${family} ${category}`, [family, category]]));
    const references = names.includes("ppl_ref") || names.includes("bpb_ref") ? [...about.values()] : [];
    return [
      head,
      ...references.map(([family, category]) => {
        const rows = wanted.filter(([f, , c]) => f === family && c === category);
        const shared = (name) => { // what all rows say alike of the reference and its documents
          const all = new Set(/^(ppl|bpb)_ref$|^n_/.test(name) ? rows.map((row) => value(row, name)) : []);
          return all.size === 1 ? [...all][0] : "";
        };
        const own = { ...index.references[family], family: index.families[family].name, role: "reference", category: category ?? "" };
        return wide((name, at) => (at !== 1 ? "" : name in own ? own[name] ?? "" : ZERO.test(name) ? 0 : ONE.test(name) ? 1
          : shared({ ppl_cmp: "ppl_ref", bpb_cmp: "bpb_ref" }[name] ?? name)));
      }),
      ...wanted.map((row) => wide((name, at) => (name === "role" ? "comparison" : value(row, name, at)))),
    ];
  }

  const save = (name, rows) => format.saveCsv(`${name}.csv`, rows);
  return { fileName, heading, lines, save };
})();
