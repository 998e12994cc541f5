// The controls that all panels share, tables that are in the page as they are, light and dark, paper; and the start.
(() => {
  "use strict";

  const { state, plots, format, index } = ppldelta;
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  const isDark = () => (state.theme ? state.theme === "dark" : dark.matches);
  state.dark = isDark();
  document.getElementById("theme-word").textContent = state.dark ? "Light" : "Dark"; // what a click gives

  // --- models, categories, switches ---------------------------------------------------------------------------------

  function toggle(chip, alone) {
    const family = Number(chip.dataset.family);
    const all = index.families[family].models.map((_, m) => `${family}/${m}`);
    const key = `${family}/${state.modelNumber(family, chip.dataset.model)}`;
    const hidden = new Set(state.hidden);
    if (alone) {
      const already = all.every((each) => hidden.has(each) === (each !== key));
      for (const each of all) hidden[already ? "delete" : "add"](each);
      hidden.delete(key);
    } else if (!hidden.delete(key)) hidden.add(key);
    state.set({ hidden });
  }

  const category = document.getElementById("category");
  category?.addEventListener("change", () => state.set({ category: category.value === "" ? null : category.value.slice(1) }));

  /** Brings the controls to what is chosen, here or by the address. */
  function showChoices(what) {
    const press = (button, on) => button.setAttribute("aria-pressed", String(on));
    for (const each of document.querySelectorAll("[data-set]")) if (what.has(each.dataset.set)) press(each, each.dataset.value === state[each.dataset.set]);
    if (what.has("hidden")) {
      for (const each of document.querySelectorAll(".chip")) press(each, !state.isHidden(Number(each.dataset.family), state.modelNumber(Number(each.dataset.family), each.dataset.model)));
    }
    if (what.has("hidden")) {
      for (const each of document.querySelectorAll(".focus option")) each.hidden = each.disabled = state.isHidden(...each.value.split("."));
    }
    if (what.has("category")) {
      if (category) category.value = state.category === null ? "" : `=${state.category}`;
      for (const each of document.querySelectorAll("button.mark")) press(each, each.dataset.category === state.category);
    }
    if (what.has("dark") || what.has("theme")) document.getElementById("theme-word").textContent = isDark() ? "Light" : "Dark";
    if (what.has("theme")) {
      if (state.theme) root.dataset.theme = state.theme; else delete root.dataset.theme;
      if (state.dark !== isDark()) state.set({ dark: isDark() });
    }
  }

  for (const select of document.querySelectorAll(".focus")) {
    index.families.forEach((family, f) => {
      const options = family.models.map((model, m) => format.element("option", { value: `${f}.${m}` }, model));
      select.append(...(index.families.length > 1 ? [format.element("optgroup", { label: family.name }, ...options)] : options));
    });
    select.addEventListener("change", () => {
      const [family, model] = select.value.split(".").map(Number);
      state.set({ focus: { family, model } });
    });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.matches(".chip")) toggle(button, false);
    else if (button.matches(".mark")) state.set({ category: button.getAttribute("aria-pressed") === "true" ? null : button.dataset.category });
    else if (button.dataset.set) state.set({ [button.dataset.set]: button.dataset.value });
    else if (button.matches(".csv")) ppldelta.tables.save(button);
    else if (button.closest("thead") && !button.dataset.column) ppldelta.tables.sort(button);
  });
  document.addEventListener("dblclick", (event) => {
    const chip = event.target.closest?.(".chip");
    if (chip) toggle(chip, true);
  });

  /** Passages, kinds and the text are those of a model that is shown, of the same family if there is one. */
  function focusOnShown() {
    const all = index.families.flatMap(({ models }, family) => models.map((_, model) => ({ family, model })));
    const shown = all.filter(({ family, model }) => !state.isHidden(family, model));
    const next = shown.find(({ family }) => family === state.focus.family) ?? shown[0];
    if (next) state.set({ focus: next });
  }

  function showFocus() {
    const { family, model } = state.focus;
    for (const select of document.querySelectorAll(".focus")) select.value = `${family}.${model}`;
  }

  // --- what follows a change ----------------------------------------------------------------------------------------

  state.subscribe((what) => {
    const has = (...names) => names.some((name) => what.has(name));
    showChoices(what);
    if (has("focus")) showFocus();
    if (has("hidden") && state.isHidden(state.focus.family, state.focus.model)) focusOnShown();
    if (has("selection")) {
      const n = state.selection?.documents.size ?? 0;
      document.querySelector(".selected").hidden = n === 0;
      document.getElementById("selected").textContent = `${format.count(n)} document${n === 1 ? "" : "s"} selected`;
    }
    plots.drawAgain((figure) => has("dark", ...figure.follows));
  });

  dark.addEventListener("change", () => state.set({ dark: isDark() }));
  document.getElementById("theme").addEventListener("click", () => state.set({ theme: isDark() ? "light" : "dark" }));
  function goTo(section) {
    section.tabIndex = -1;
    section.focus({ preventScroll: true });
    section.scrollIntoView();
  }
  document.addEventListener("click", (event) => { // to a section: the address keeps the view
    const link = event.target.closest?.('a[href^="#"]:not([href*="="])');
    const section = link && document.getElementById(link.getAttribute("href").slice(1));
    if (!section || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goTo(section);
  });
  document.querySelector(".sections").addEventListener("change", ({ target }) => {
    const section = document.getElementById(target.value);
    target.value = "";
    if (section) goTo(section);
  });
  const paper = (onPaper) => { // the browser prints at once, so every figure is drawn now
    state.onPaper = onPaper;
    for (const canvas of plots.canvases) plots.draw(canvas);
    ppldelta.rows.render();
    if (onPaper) ppldelta.text.onPaper();
  };
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));

  async function start() {
    await Promise.all([plots.load(), ...index.families.map((_, f) => state.documents(f))]);
    const named = ppldelta.address.start();
    showFocus();
    ppldelta.rows.collect();
    await plots.start();
    root.dataset.usable = String(Math.round(performance.now())); // milliseconds since the page began to load
    await ppldelta.reader.start();
    if (named) ppldelta.reader.show();
    await ppldelta.passages.show();
    await ppldelta.kinds?.show();
    await ppldelta.tables.shown();
    root.dataset.drawn = String(plots.canvases.length);
    setTimeout(plots.plotly, 1000); // before the first figure comes into view, and after the first click is answered
  }

  start().catch((error) => {
    root.dataset.failed = error.message;
    document.querySelector("main").prepend(format.element("p", { class: "noscript", role: "alert" }, `Something in this page cannot be shown: ${error.message}.`));
  });
})();
