// One document, token by token: coloured text, what a token says when it is pointed at, jumps to the largest gains and
// losses, and how the document's numbers settle.
(() => {
  "use strict";

  const { state, plots, format, index } = ppldelta;
  const { element, fixed, signed, count, percent, decimals, significant, visible } = format;
  const place = Object.fromEntries(["text", "strip", "detail", "scale", "document", "whitespace"].map((id) => [id, document.getElementById(id)]));
  const { delta_shades: DELTA, surprisal_shades: SURPRISAL, kld_shades: KLD } = index.look; // nats where each shade begins
  const BLOCK = 300; // tokens after which the next line break begins a block that is drawn only when it is in view
  const MOST_POINTS = 4000;

  let shown = null; // the document in view: tokens, units of text, log-probabilities
  let history = [], asked = 0;

  const row = () => (shown.spans ? "span" : "token");

  // --- text ---------------------------------------------------------------------------------------------------------

  const scoredOf = (unit) => {
    const found = [];
    for (let t = unit.first; t <= unit.last; t++) if (shown.at[t] >= 0) found.push(shown.at[t]);
    return found;
  };

  const shades = () => ({ delta: DELTA, kld: KLD })[state.shade] ?? SURPRISAL;
  const letter = () => (state.shade === "kld" ? "k" : "s");

  /** What a scored token is coloured by. */
  function valueOf(i) {
    if (state.shade === "kld") return shown.detail?.kld[shown.model][i] ?? 0;
    const delta = shown.deltas[shown.model][i];
    return state.shade === "delta" ? delta : shown.nll[i] - (state.shade === "cmp" ? delta : 0);
  }

  function shadeOf(unit) {
    const scored = scoredOf(unit);
    if (!scored.length) return "context";
    const sum = scored.reduce((total, i) => total + valueOf(i), 0);
    if (!Number.isFinite(sum)) return "unknown";
    const level = shades().filter((begin) => Math.abs(sum) >= begin).length;
    return level ? `${state.shade === "delta" ? (sum > 0 ? "g" : "l") : letter()}${level}` : "";
  }

  const written = (text) => (place.whitespace.checked ? text.replace(/\r?\n/g, "↵\n").replaceAll("\t", "⇥\t").replaceAll(" ", "·").replaceAll("\u00a0", "⍽") : text);

  function paint() {
    const blocks = [];
    let block = element("div", { class: "block" }), n = 0;
    shown.units.forEach((unit, u) => {
      unit.element = element("span", { "data-u": u, class: shadeOf(unit) || null }, written(unit.text));
      block.append(unit.element);
      if (++n >= BLOCK && unit.text.endsWith("\n")) { blocks.push(block); block = element("div", { class: "block" }); n = 0; }
    });
    blocks.push(block);
    if (!shown.complete) blocks.unshift(element("p", { class: "quiet" }, "This result keeps only the scored tokens; score again with this version to see the whole text."));
    place.text.replaceChildren(...blocks);
    place.text.scrollTop = 0;
  }

  function repaint() {
    for (const unit of shown.units) unit.element.className = shadeOf(unit) + (unit.element.classList.contains("at") ? " at" : "");
  }

  function summary() {
    const block = state.loaded.get(shown.family);
    const { model, k } = shown;
    const unit = index.bits ? "bpb" : "nats";
    const { gain, loss, delta, ref, cmp } = state.numbers(shown.family, k, model, unit);
    const total = (counts) => count(counts[model].reduce((sum, n) => sum + n, 0));
    const scored = shown.spans
      ? `${count(shown.n)} spans hold ${total(shown.spans.ref)} of the reference’s ${count(block.n_tokens[k])} tokens and ${total(shown.spans.cmp)} of the model’s.`
      : `${count(shown.n)} of ${count(block.n_tokens[k])} tokens scored.`;
    const { kld, same } = state.divergence(block, k, model);
    const digits = decimals(gain, loss);
    place.strip.replaceChildren(
      element("code", {}, block.names[k]), ` under `, element("code", {}, index.families[shown.family].models[model]),
      `: gain ${fixed(gain, digits)}, loss ${fixed(loss, digits)}, delta ${signed(delta, digits)} ${index.units[unit]}; ${state.fits(ref, cmp)}; ${scored}`,
      Number.isNaN(kld) ? "" : ` KL divergence ${significant(kld)} nats/token, same most probable token at ${fixed(100 * same, 1)}\u00a0%.`,
      Number.isNaN(kld) || shown.detail ? "" : " This file has no room for its divergences by token; as a folder a report holds all.",
    );
    const steps = shades();
    const box = (name, title) => element("i", { class: name, title });
    place.scale.replaceChildren(...(state.shade === "delta"
      ? [`−${steps.at(-1)}`, ...steps.map((_, i) => box(`l${steps.length - i}`, `−${steps.at(-1 - i)} nats`)), box("", "about 0"), ...steps.map((s, i) => box(`g${i + 1}`, `+${s} nats`)), `+${steps.at(-1)} nats and more`]
      : ["0", box("", "about 0"), ...steps.map((s, i) => box(`${letter()}${i + 1}`, `${s} nats`)), `${steps.at(-1)} nats and more`]));
  }

  // --- a token ------------------------------------------------------------------------------------------------------

  const tokens = (n) => `${count(n)} token${n === 1 ? "" : "s"}`;

  function describe(unit) {
    const scored = scoredOf(unit);
    const head = element("b", {}, `“${visible(unit.text)}”`);
    if (!scored.length) return [head, element("span", {}, "context, not scored")];
    const deltas = shown.deltas[shown.model];
    return [head, ...scored.flatMap((i, part) => {
      const ref = -shown.nll[i], delta = deltas[i];
      const better = delta >= 0;
      const rank = 1 + deltas.reduce((n, other) => n + (better ? other > delta : other < delta), 0);
      return [
        scored.length > 1 ? element("span", { class: "quiet" }, `${row()} ${part + 1} of ${scored.length}`) : null,
        shown.spans ? element("span", {}, `reference ${tokens(shown.spans.ref[shown.model][i])}, model ${tokens(shown.spans.cmp[shown.model][i])}`) : null,
        element("span", {}, `reference ${percent(ref)} → model ${percent(ref + delta)}`),
        element("span", {}, `logp ${fixed(ref)} → ${fixed(ref + delta)}, delta ${signed(delta)} nats`),
        element("span", { class: "quiet" }, `${better ? "gain" : "loss"} no. ${count(rank)} of ${count(shown.n)} ${shown.spans ? "spans" : "scored tokens"}, position ${count(shown.positions[i])}`),
        ...ppldelta.details.describe(shown.detail, shown.model, i),
      ];
    }).filter(Boolean)];
  }

  const tell = (unit) => place.detail.replaceChildren(...describe(unit).flatMap((part, i) => (i ? [" · ", part] : [part])));

  const unitAt = (t) => shown.units.findIndex((unit) => unit.first <= t && t <= unit.last);
  // in an older result only the scored tokens are known, so a token's place in the list is not its position
  const tokenAt = (pos) => (shown.complete ? pos : shown.positions.indexOf(pos));
  const positionOf = (t) => (shown.complete ? t : shown.positions[t]);

  function goTo(u, { scroll = true, remember = true } = {}) {
    const unit = shown.units[u];
    if (!unit) return;
    const before = place.text.querySelector(".at");
    if (before && remember) history.push(Number(before.dataset.u));
    before?.classList.remove("at");
    unit.element.classList.add("at");
    if (scroll) { // inside its box only: the page stays where it is
      const box = place.text, inside = unit.element.getBoundingClientRect(), outside = box.getBoundingClientRect();
      if (inside.top < outside.top + 40 || inside.bottom > outside.bottom - 40) box.scrollTop += inside.top - outside.top - box.clientHeight / 3;
    }
    tell(unit);
    shown.current = positionOf(unit.first);
    const { family, k } = shown;
    window.history.replaceState(null, "", `#read=${family}.${k}.${shown.model}.${shown.current}`);
    drawCurve();
  }

  function jump(way) {
    if (!shown) return;
    if (way === "back") { if (history.length) goTo(history.pop(), { remember: false }); return; }
    const values = way === "kld" ? shown.detail?.kld[shown.model] ?? [] : shown.deltas[shown.model];
    const sign = way === "loss" ? -1 : 1;
    const order = Array.from(values.keys()).filter((i) => sign * values[i] > 0).sort((a, b) => sign * (values[b] - values[a]));
    const here = scoredOf(shown.units[place.text.querySelector(".at")?.dataset.u ?? -1] ?? { first: 0, last: -1 });
    const now = order.indexOf(here.includes(shown.jumped) ? shown.jumped : here.find((i) => order.includes(i)));
    const next = order[(now + 1) % order.length];
    if (next === undefined) return;
    goTo(unitAt(shown.at.indexOf(next)));
    shown.jumped = next; // several tokens may stand in one unit
  }

  // --- the curve ----------------------------------------------------------------------------------------------------

  const drawCurve = () => plots.drawAgain((figure) => figure.filling === "curve");
  plots.fill("curve", (figure) => {
    if (!shown) return;
    const deltas = shown.deltas[shown.model];
    const step = Math.max(1, Math.ceil(shown.n / MOST_POINTS));
    const x = [], ratio = [], sum = [];
    let total = 0, bytes = 0;
    const even = index.bits ? 0 : 1; // in bits per byte the upper curve is a difference, else a ratio of perplexities
    shown.rows.forEach((i, at) => {
      total += deltas[i];
      const first = shown.positions[i], after = first + (shown.spans?.ref[shown.model][i] ?? 1);
      for (let t = first; index.bits && shown.complete && t < after; t++) bytes += shown.sizes[t];
      if (at % step && at < shown.n - 1) return;
      x.push(first); sum.push(total);
      ratio.push(index.bits ? -total / Math.LN2 / bytes : Math.exp(-total / (at + 1)));
    });
    const values = { one: ratio.map(() => even), below: ratio.map((r) => Math.min(r, even)), above: ratio.map((r) => Math.max(r, even)), ratio, sum };
    for (const trace of figure.data) Object.assign(trace, { x, y: values[trace.meta.curve] });
    const settled = ratio.slice(Math.min(Math.ceil(20 / step), ratio.length >> 2)); // the first tokens would set the scale
    const [low, high] = [Math.min(even, ...settled), Math.max(even, ...settled)];
    figure.layout.yaxis.range = [low - 0.06 * (high - low || 1), high + 0.06 * (high - low || 1)];
    figure.layout.uirevision = `${shown.family}.${shown.k}.${shown.model}`;
    ppldelta.addCurves(figure, shown, MOST_POINTS);
    if (shown.current !== undefined) {
      figure.layout.shapes = [...(figure.layout.shapes ?? []), {
        type: "line", x0: shown.current, x1: shown.current, xref: "x2", y0: 0, y1: 1, yref: "paper",
        line: { color: plots.color("accent"), width: 1.5 },
      }];
    }
  });
  document.addEventListener("firstdraw", ({ target: canvas }) => {
    if (plots.described(canvas).filling !== "curve") return;
    canvas.on("plotly_click", ({ points: [point] }) => { if (shown) goTo(unitAt(tokenAt(point.x))); });
  });

  // --- what opens it ------------------------------------------------------------------------------------------------

  /** Shows a document under a model, at the token of a position; `scroll` brings the reader into view. */
  ppldelta.openDocument = async (family, k, { model = null, token = null, scroll = false } = {}) => {
    const ticket = ++asked;
    place.text.setAttribute("aria-busy", "true");
    let loaded;
    try {
      await state.documents(family);
      loaded = await ppldelta.opened.load(family, k);
    } catch (error) {
      if (ticket === asked) place.strip.textContent = `This document cannot be shown: ${error.message}.`;
      return;
    } finally {
      if (ticket === asked) place.text.removeAttribute("aria-busy");
    }
    if (ticket !== asked) return; // another one was asked for meanwhile
    ppldelta.opened.choose(loaded, model ?? (state.focus.family === family ? state.focus.model : 0));
    shown = loaded;
    history = [];
    place.document.value = `${family}.${k}`;
    place.detail.textContent = "Point at a token, or jump to the largest gains and losses.";
    paint();
    state.set({ open: { family, document: k }, focus: { family, model: shown.model } });
    if (token !== null) goTo(unitAt(tokenAt(token)), { remember: false });
    if (scroll) document.querySelector(".reader-tools").scrollIntoView();
  };

  function follow() { // #read=family.document.model.token
    const [family, k, model, token] = (window.location.hash.match(/^#read=([\d.]+)$/)?.[1] ?? "").split(".").map(Number);
    if (!index.families[family]?.token_documents.includes(k)) return false;
    const known = index.families[family].models[model] === undefined ? null : model;
    ppldelta.openDocument(family, k, { model: known, token: Number.isInteger(token) ? token : null, scroll: true });
    return true;
  }
  window.addEventListener("popstate", follow);
  document.addEventListener("click", (event) => { // also where the address is that already
    const link = event.target.closest?.('a[href^="#read="]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    window.history.pushState(null, "", link.getAttribute("href"));
    follow();
  });

  place.text.addEventListener("mouseover", (event) => {
    const u = event.target.dataset?.u;
    if (u === undefined || !shown) return;
    document.getElementById("tip").replaceChildren(...describe(shown.units[u]));
    ppldelta.placeTip(event.clientX, event.clientY);
  });
  place.text.addEventListener("mouseleave", ppldelta.hideTip);
  place.text.addEventListener("click", (event) => {
    const u = event.target.dataset?.u;
    if (u !== undefined && shown) { ppldelta.hideTip(); goTo(Number(u), { scroll: false }); }
  });
  document.addEventListener("click", (event) => {
    const way = event.target.closest?.("[data-jump]")?.dataset.jump;
    if (way) jump(way);
  });
  place.text.addEventListener("keydown", (event) => {
    const way = { g: "gain", l: "loss", d: "kld", b: "back" }[event.key];
    const current = place.text.querySelector(".at");
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way) jump(way);
    else if (step && shown) goTo(current ? Number(current.dataset.u) + step : 0, { remember: false });
    else return;
    event.preventDefault();
  });
  place.whitespace.addEventListener("change", () => { if (shown) { paint(); if (shown.current !== undefined) goTo(unitAt(tokenAt(shown.current)), { remember: false }); } });
  place.document.addEventListener("change", () => {
    const [family, k] = place.document.value.split(".").map(Number);
    ppldelta.openDocument(family, k);
    window.history.replaceState(null, "", `#read=${family}.${k}`);
  });

  state.subscribe((what) => {
    if (!shown) return;
    if (what.has("focus")) {
      if (state.focus.family !== shown.family) {
        const first = index.families[state.focus.family].token_documents[0];
        if (first !== undefined) ppldelta.openDocument(state.focus.family, first, { model: state.focus.model });
        return;
      }
      const changed = shown.model !== state.focus.model;
      if (changed) ppldelta.opened.choose(shown, state.focus.model);
      if (changed && shown.spans) {
        const { scrollTop } = place.text;
        paint();
        place.text.scrollTop = scrollTop;
        history = [];
        if (shown.current !== undefined) goTo(unitAt(tokenAt(shown.current)), { scroll: false, remember: false });
      }
      const current = place.text.querySelector(".at");
      if (current) tell(shown.units[current.dataset.u]);
      drawCurve();
    }
    if (what.has("focus") || what.has("shade")) { repaint(); summary(); }
  });

  ppldelta.reader = {
    /** Fills the list of documents that can be read, and opens one: that of the address, or the one that moved most. */
    async start() {
      const readable = index.families.flatMap((family, f) => family.token_documents.map((k) => [f, k]));
      if (!readable.length) {
        document.getElementById("tokens").hidden = true;
        return;
      }
      await Promise.all(index.families.map((_, f) => state.documents(f)));
      const several = index.families.length > 1;
      index.families.forEach((family, f) => {
        const block = state.loaded.get(f);
        const names = family.token_documents.map((k) => [block.names[k], k]).sort(([a], [b]) => (a < b ? -1 : 1));
        const options = names.map(([name, k]) => element("option", { value: `${f}.${k}` }, name));
        place.document.append(...(several ? [element("optgroup", { label: family.name }, ...options)] : options));
      });
      const { wanted, included } = index.token_views;
      const all = index.families.reduce((sum, family) => sum + family.n_documents, 0);
      document.getElementById("readable").textContent = included === all ? ""
        : included < wanted ? ` ${count(included)} of ${count(all)} documents are in this file, those that changed most; as a folder a report holds all.`
          : ` ${count(included)} of ${count(all)} documents are here, those that changed most.`;
      if (!follow()) await ppldelta.openDocument(...readable[0]);
    },
  };
})();
