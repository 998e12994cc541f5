// The plane of prompts. A click on a mark opens the first completion of its prompt that can be read; buttons above the
// text lead to the prompt's other completions.
(() => {
  "use strict";

  const { state, index, format } = ppldelta;
  const place = document.getElementById("companions");
  if (!place) return;
  const together = new Map(); // family and name of a document → names of all completions of its prompt
  const key = (family, name) => JSON.stringify([family, name]);

  document.addEventListener("firstdraw", ({ target: canvas }) => {
    const family = Number(canvas.dataset.family);
    const marks = canvas.data.filter(({ meta }) => meta?.marks === "prompts");
    for (const [, names] of marks.flatMap(({ customdata }) => customdata)) for (const name of names) together.set(key(family, name), names);
    if (marks.length) show();
    canvas.on("plotly_click", ({ points: [point] }) => {
      if (point.data.meta?.marks !== "prompts") return;
      const [k] = readable(family, point.customdata[1]);
      if (k !== undefined) ppldelta.openDocument(family, k, { model: state.modelNumber(family, point.data.meta.model), scroll: true });
    });
  });

  /** Those of some documents that can be read token by token, as numbers. */
  function readable(family, names) {
    const all = state.loaded.get(family).names, { token_documents: known } = index.families[family];
    return names.map((name) => all.indexOf(name)).filter((k) => known.includes(k));
  }

  /** Says which completion of its prompt the open document is. */
  function show() {
    const { family, document: k } = state.open ?? {};
    const name = state.loaded.get(family)?.names[k], names = together.get(key(family, name)) ?? [];
    place.hidden = names.length < 2;
    if (place.hidden) return;
    const there = readable(family, names), at = there.indexOf(k);
    const step = (by, text) => {
      const to = there[at + by];
      const button = format.element("button", { type: "button", class: "plain", disabled: to === undefined }, text);
      button.addEventListener("click", () => ppldelta.openDocument(family, to));
      return button;
    };
    const unread = names.length - there.length;
    place.replaceChildren(
      `Completion ${names.indexOf(name) + 1} of ${names.length} of this prompt`, step(-1, "previous"), step(1, "next"),
      unread ? ` ${format.count(unread)} of them ${unread === 1 ? "is" : "are"} not in this file; as a folder a report holds all.` : "",
    );
  }

  state.subscribe((what) => { if (what.has("open")) Promise.resolve(state.documents(state.open?.family ?? 0)).then(show); });
})();
