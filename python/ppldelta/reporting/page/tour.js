// The tour of the run's own data: steps beside a figure that shows what each step says. Next, an arrow key or scrolling
// leads to the next step. tour.py makes the sentences. The head of the page offers the tour, and more briefly once a
// reader has taken or closed it.
(() => {
  "use strict";

  const { state, index, plots, format } = ppldelta;
  const { tour } = index;
  const { element } = format;
  const head = document.querySelector(".eyebrow");
  if (!tour || !head) return;
  const SEEN = "ppldelta-tour";
  const FAINT = 0.16; // what a step does not speak of
  const { family, model, document: k } = tour;
  const n = tour.steps.length;

  const steps = tour.steps.map(({ title, pieces }, i) => element("article", { class: "tour-step", "aria-label": `Step ${i + 1} of ${n}` },
    element("small", {}, `${i + 1} of ${n}`), element("h3", {}, title), element("p", {}, ...pieces.map(format.piece))));
  const close = element("button", { type: "button", class: "plain", title: "Close the tour (Escape)" }, "Close the tour");
  const caption = element("figcaption", {}), canvas = element("div", { class: "canvas square", "data-family": family, role: "img" });
  const word = element("div", { class: "tour-word", hidden: true });
  const title = element("h2", { id: "tour-title", tabindex: "-1" }, "A tour of this run");
  const [back, next] = ["Back", "Next"].map((name) => element("button", { type: "button", title: `${name} (${name === "Back" ? "←" : "→"})` }, name));
  const where = element("span", { role: "status" });
  const walk = element("div", { class: "tour-walk" }, element("div", { class: "choice", role: "group", "aria-label": "Steps of the tour" }, back, next), where, element("span", { class: "tour-ways" }, "or scroll, or press ← →"));
  const band = element("section", { class: "tour", id: "tour", "aria-labelledby": "tour-title", hidden: true },
    element("div", { class: "tour-head" }, title, close),
    element("div", { class: "tour-stage" }, walk, element("figure", { class: "plot" }, caption, canvas, word)),
    element("div", { class: "tour-steps" }, ...steps));
  document.getElementById("models").before(band);

  // --- the offer ----------------------------------------------------------------------------------------------------

  const offer = element("button", { type: "button", class: "plain offer" }, "Take the tour");
  const no = element("button", { type: "button", class: "plain", "aria-label": "Do not offer the tour again" }, "✕");
  head.append(offer);
  function seen() {
    try { return window.localStorage.getItem(SEEN) !== null; } catch { return window.location.hash.includes("="); } // then who opens a copied link knows
  }
  function noted() {
    try { window.localStorage.setItem(SEEN, "1"); } catch { /* it is offered again */ }
    offer.classList.remove("new");
    offer.replaceChildren("Take the tour");
    no.remove();
  }
  if (!seen()) {
    offer.classList.add("new");
    offer.append(element("small", {}, ` \u2013 ${n} steps on this run\u2019s own data`));
    offer.after(no);
  }
  no.addEventListener("click", () => { noted(); offer.focus(); });

  // --- the figure ---------------------------------------------------------------------------------------------------

  /** A figure of the page as it is drawn at first, on the tour's own canvas. */
  function figureOf(name) {
    const own = document.getElementById(`f${family}-${name}`);
    canvas.dataset.figure = own.dataset.figure;
    caption.replaceChildren(own.parentNode.querySelector("figcaption").firstChild.textContent);
    const kept = { ...state };
    Object.assign(state, { ...index.choice, category: null, hidden: new Set(), selection: null });
    try { return plots.figureOf(canvas); } finally { Object.assign(state, kept); }
  }
  const isOwn = (trace) => trace.meta?.model === index.families[family].models[model];
  const fade = (figure) => { for (const trace of figure.data) if (!isOwn(trace)) trace.opacity = FAINT; };
  const ring = (x, y, size) => {
    const marker = { size, color: "rgba(0,0,0,0)", line: { color: plots.color("ink"), width: 2.5 } };
    return { type: "scatter", mode: "markers", x: [x], y: [y], cliponaxis: false, hoverinfo: "skip", marker };
  };
  const ofModels = (figure) => figure.data.filter((trace) => trace.meta?.model !== undefined && !trace.meta.selected && trace.x?.length === 1);

  const DRAW = [
    () => { // what is left of the plane where only the mean is known: one number for each model
      const figure = figureOf("models");
      const { layout } = figure, marks = ofModels(figure);
      const unit = index.units[index.choice.unit];
      const data = marks.map((trace, i) => ({
        type: "scatter",
        mode: "markers",
        x: [trace.x[0] - trace.y[0]],
        y: [i],
        marker: { ...trace.marker, size: isOwn(trace) ? 18 : 11 },
        opacity: isOwn(trace) ? 1 : 0.5,
        cliponaxis: false,
        hoverinfo: "skip",
      }));
      const most = 1.15 * Math.max(...data.map(({ x: [net] }) => Math.abs(net)), Math.abs(tour.turned?.[1] ?? 0), 0.25 * layout.xaxis.range[1]);
      if (tour.turned) { // an open mark: the category in which it is the other way round
        const own = marks.findIndex(isOwn), [category, delta] = tour.turned;
        if (own >= 0) {
          const { marker } = data[own];
          const rim = { color: [marker.color].flat()[0], width: 3 };
          data.push({
            ...data[own],
            mode: "markers+text",
            x: [delta],
            text: [`only ${category || "(none)"}`],
            texttemplate: "%{text}",
            textposition: "bottom center",
            textfont: { color: plots.color("ink") },
            marker: { ...marker, color: plots.color("surface"), line: rim },
          });
        }
      }
      caption.replaceChildren("What the mean says");
      const names = marks.map((trace) => (trace.name.length > 18 ? `${trace.name.slice(0, 8)}…${trace.name.slice(-9)}` : trace.name));
      return { data, layout: {
        template: layout.template, autosize: true, showlegend: false, margin: { l: 130, r: 24, t: 30, b: 54 },
        xaxis: { title: { text: `mean delta, ${unit}` }, range: [-most, most], zeroline: true, zerolinecolor: plots.color("ink"), nticks: 5 },
        yaxis: { tickvals: names.map((_, i) => i), ticktext: names, range: [names.length - 0.5, -0.5], showgrid: false, ticks: "", zeroline: false, automargin: true },
      } };
    },
    () => {
      const figure = figureOf("models"), own = ofModels(figure).find(isOwn);
      fade(figure);
      if (own) figure.data.push(ring(own.x[0], own.y[0], 26));
      return figure;
    },
    () => {
      const figure = figureOf("documents"), block = state.loaded.get(family);
      fade(figure);
      const [gain, loss] = state.deltas(block, k, model, index.choice.unit).map((value) => (index.choice.axes === "root" ? Math.sqrt(value) : value));
      figure.data.push(ring(gain, loss, 20));
      for (const axis of ["xaxis", "yaxis"]) { // contours end before the documents that moved most
        const far = 1.06 * Math.max(gain, loss), { range } = figure.layout[axis];
        if (far > range[1]) figure.layout[axis].range = range.map((end) => end * far / range[1]);
      }
      return figure;
    },
  ];

  /** Below what is said of the document, where it gained most and where it lost most. */
  function showPassages() {
    const step = steps[2], { quote } = ppldelta.passages;
    step.querySelector(".passages")?.remove();
    const unit = index.families[family].spans ? "span" : "token";
    step.append(element("ol", { class: "passages" }, ...tour.passages.map((each) => element("li", {}, element("a", { href: `#read=${family}.${k}.${model}.${each.start}` },
      element("span", { class: "facts" }, `${each.sum > 0 ? "It gains" : "It loses"} most here: `, element("b", {}, `${format.signed(each.sum, 2)} nats`), ` over ${each.n} ${unit}${each.n === 1 ? "" : "s"}`), quote(each))))));
  }

  let drawn = "";
  function draw() {
    const step = state.tour ?? 0, wanted = `${step} ${state.dark}`;
    if (!step || wanted === drawn) return;
    drawn = wanted;
    steps.forEach((each, i) => each.classList.toggle("here", i === step - 1));
    where.textContent = `step ${step} of ${n}`;
    back.disabled = step === 1;
    next.textContent = step === n ? "Done" : "Next";
    if (step === 3) showPassages();
    const quoted = step === 4;
    canvas.hidden = quoted;
    word.hidden = !quoted;
    if (quoted) {
      caption.replaceChildren("The token where it stands");
      word.replaceChildren(ppldelta.passages.quote(tour.quote), element("br"), element("a", { href: `#read=${family}.${k}.${model}.${tour.token}` }, "Read it in its place"));
      return;
    }
    canvas.setAttribute("aria-label", tour.steps[step - 1].pieces.map(([, text]) => text).join(""));
    const { data, layout } = DRAW[step - 1]();
    ppldelta.plots.plotly().react(canvas, data, { ...layout, dragmode: false, uirevision: null }, { responsive: true, staticPlot: true });
  }

  // --- the steps ----------------------------------------------------------------------------------------------------

  let from = null; // step that the page has been scrolled to
  const narrow = window.matchMedia("(max-width: 900px)"); // there the steps stand below the figure
  let watching = null;
  function watch() {
    watching?.disconnect();
    watching = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting || !state.tour) continue;
        from = steps.indexOf(target) + 1;
        if (from !== state.tour) state.set({ tour: from });
      }
    }, { rootMargin: narrow.matches ? "-72% 0px -27% 0px" : "-45% 0px -54% 0px" });
    for (const each of steps) watching.observe(each);
  }
  watch();
  narrow.addEventListener("change", watch);

  function show() {
    const opens = band.hidden && state.tour !== null;
    band.hidden = state.tour === null;
    if (band.hidden) {
      [drawn, from] = ["", null];
      return;
    }
    draw();
    if (from !== state.tour) { // opened, or come to by the address
      from = state.tour;
      const first = state.tour === 1;
      (first ? band : steps[state.tour - 1]).scrollIntoView({ block: first || narrow.matches ? "start" : "center", behavior: "instant" });
    }
    if (opens) title.focus({ preventScroll: true });
  }
  function leave() {
    if (state.tour === null) return;
    noted();
    state.set({ tour: null });
    offer.focus({ preventScroll: true });
    window.scrollTo({ top: 0, behavior: "instant" });
  }
  function go(way) {
    const to = state.tour + way;
    if (to > n) leave(); else if (to >= 1) state.set({ tour: to });
  }
  back.addEventListener("click", () => go(-1));
  next.addEventListener("click", () => go(1));
  steps.forEach((each, i) => each.addEventListener("click", (event) => { if (!event.target.closest("a")) state.set({ tour: i + 1 }); }));
  offer.addEventListener("click", () => { noted(); from = null; state.set({ tour: 1 }); });
  close.addEventListener("click", leave);
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || state.tour === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key], box = band.getBoundingClientRect();
    if (event.key === "Escape") leave();
    else if (way && box.bottom > 0 && box.top < window.innerHeight && !event.target.closest?.("input, select, textarea, [tabindex='0'], .bar") && (way < 0 || state.tour < n)) {
      event.preventDefault();
      go(way);
    }
  });
  state.subscribe((what) => { if (what.has("tour")) show(); else if (what.has("dark") && !band.hidden) draw(); });
})();
