// The plane of prompts: a click on a mark opens the completion of that prompt which can be read.
(() => {
  "use strict";

  const { state, index } = ppldelta;

  document.addEventListener("firstdraw", ({ target: canvas }) => {
    const family = Number(canvas.dataset.family);
    canvas.on("plotly_click", ({ points: [point] }) => {
      if (point.data.meta?.marks !== "prompts") return;
      const { names } = state.loaded.get(family);
      const readable = index.families[family].token_documents;
      const k = point.customdata[1].map((name) => names.indexOf(name)).find((each) => readable.includes(each));
      if (k !== undefined) ppldelta.openDocument(family, k, { model: state.modelNumber(family, point.data.meta.model), scroll: true });
    });
  });
})();
