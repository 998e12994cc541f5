// One document, token by token: coloured text, what a token says when it is pointed at, jumps to the largest gains and
// losses, and how the document's numbers settle.
(() => {
  "use strict";

  const { state, plots, format, index } = ppldelta;
  const { element, fixed, signed, count, probability, decimals, significant, visible } = format;
  const place = Object.fromEntries(["text", "strip", "detail", "scale", "document", "whitespace"].map((id) => [id, document.getElementById(id)]));
  const { delta_shades: DELTA, surprisal_shades: SURPRISAL, kld_shades: KLD } = index.look; // nats where each shade begins
  const MOST_POINTS = 4000;

  let shown = null; // the document in view: tokens, units of text, log-probabilities
  let history = [], asked = 0, started = false, opening = Promise.resolve();

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

  const shadeOfValue = (value, how = state.shade) => {
    if (!Number.isFinite(value)) return "unknown";
    const level = shades().filter((begin) => Math.abs(value) >= begin).length;
    return level ? `${how === "delta" ? (value > 0 ? "g" : "l") : letter()}${level}` : "";
  };

  function shadeOf(unit) {
    const scored = scoredOf(unit);
    return scored.length ? shadeOfValue(scored.reduce((total, i) => total + valueOf(i), 0)) : "context";
  }

  const written = (raw, text = ppldelta.invisible.shown(raw)) => (place.whitespace.checked ? text.replace(/\r?\n/g, "↵\n").replaceAll("\t", "⇥\t").replaceAll(" ", "·").replaceAll("\u00a0", "⍽") : text);
  const isScored = (unit) => { for (let t = unit.first; t <= unit.last; t++) if (shown.at[t] >= 0) return true; return false; };

  function paint() {
    const block = state.loaded.get(shown.family), { names } = block;
    const because = ppldelta.text.codeBecause(names[shown.k], index.families[shown.family].categories[block.category[shown.k]] ?? "", shown.units);
    place.text.classList.toggle("code", Boolean(because));
    place.text.title = because ? `Set as code: ${because}` : "";
    ppldelta.strips.prepare(shown);
    ppldelta.text.show(shown, { name: shadeOf, strips: (unit) => ppldelta.strips.of(shown, unit), written }, shown.complete ? isScored : () => true);
    ppldelta.minimap.show(shown.units, shadeOf);
  }

  function repaint() {
    ppldelta.strips.prepare(shown);
    ppldelta.text.repaint();
    ppldelta.minimap.forget();
  }

  function summary() {
    const block = state.loaded.get(shown.family);
    const { model, k } = shown;
    const { gain, loss, delta, ref, cmp } = state.numbers(shown.family, k, model);
    const total = (counts) => count(counts[model].reduce((sum, n) => sum + n, 0));
    const scored = shown.spans
      ? `${count(shown.n)} spans hold ${total(shown.spans.ref)} of the reference’s ${count(block.n_tokens[k])} tokens and ${total(shown.spans.cmp)} of the model’s.`
      : `${count(shown.n)} of ${count(block.n_tokens[k])} tokens scored.`;
    const { kld, same } = state.divergence(block, k, model);
    const digits = decimals(gain, loss);
    place.strip.replaceChildren(
      element("code", {}, block.names[k]), ` under `, element("code", {}, index.families[shown.family].models[model]),
      `: gain ${fixed(gain, digits)}, loss ${fixed(loss, digits)}, net ${signed(delta, digits)} ${index.units[state.unit]}; ${state.fits(ref, cmp)}; ${scored}`,
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
    const name = visible(unit.text), unseen = ppldelta.invisible.explained(name), head = element("b", { dir: "auto" }, `“${name}”`, unseen ? element("small", {}, ` ${unseen}`) : null);
    if (!scored.length) return [head, element("span", {}, "context, not scored")];
    const deltas = shown.deltas[shown.model];
    return [head, ...scored.flatMap((i, part) => {
      const ref = -shown.nll[i], delta = deltas[i];
      const better = delta >= 0;
      const rank = 1 + deltas.reduce((n, other) => n + (better ? other > delta : other < delta), 0);
      return [
        scored.length > 1 ? element("span", { class: "quiet" }, `${row()} ${part + 1} of ${scored.length}`) : null,
        shown.spans ? element("span", {}, `reference ${tokens(shown.spans.ref[shown.model][i])}, model ${tokens(shown.spans.cmp[shown.model][i])}`) : null,
        element("span", {}, `reference ${probability(ref)} → model ${probability(ref + delta)}`),
        element("span", {}, `logp ${fixed(ref)} → ${fixed(ref + delta)}, delta ${signed(delta)} nats`),
        element("span", { class: "quiet" }, `${better ? "gain" : "loss"} no. ${count(rank)} of ${count(shown.n)} ${shown.spans ? "spans" : "scored tokens"}, position ${count(shown.positions[i])}`),
        ...ppldelta.details.describe(shown.detail, shown.model, i),
      ];
    }).filter(Boolean)];
  }

  const tell = (unit) => place.detail.replaceChildren(...[...describe(unit), element("button", { type: "button", class: "plain copy-link" }, "Copy link to this token")].flatMap((part, i) => (i ? [element("span", { class: "dot" }, " · "), part] : [part])));

  const unitAt = (t) => ppldelta.text.unitAt(shown.units, t);
  // in an older result only the scored tokens are known, so a token's place in the list is not its position
  const tokenAt = (pos) => (shown.complete ? pos : shown.positions.indexOf(pos));
  const positionOf = (t) => (shown.complete ? t : shown.positions[t]);

  function goTo(u, { scroll = true, remember = true, stepping = false } = {}) {
    const unit = shown.units[u];
    if (!unit) return;
    const before = place.text.querySelector(".at");
    if (before && remember) history.push(Number(before.dataset.u));
    before?.classList.remove("at");
    const mark = ppldelta.text.mark(u);
    mark.classList.add("at");
    if (scroll) { // inside its box only: the page stays where it is
      const box = place.text, inside = mark.getBoundingClientRect(), outside = box.getBoundingClientRect();
      if (inside.top < outside.top + 40 || inside.bottom > outside.bottom - 40) box.scrollTop += inside.top - outside.top - box.clientHeight / 3;
    }
    tell(unit);
    const first = scoredOf(unit)[0];
    shown.current = first === undefined ? positionOf(unit.first) : shown.positions[first];
    if (state.token !== shown.current) state.set({ token: shown.current, stepping });
    drawCurve();
  }

  /** Puts the mark where the state says, which the address may have changed. */
  function goToToken({ scroll = true } = {}) {
    if (state.token !== null) { goTo(unitAt(tokenAt(state.token)), { scroll, remember: false }); return; }
    place.text.querySelector(".at")?.classList.remove("at");
    shown.current = undefined;
    place.detail.textContent = `Point at a ${row()}, or jump to the largest gains and losses.`;
    drawCurve();
  }

  function jump(way) {
    if (!shown) return;
    if (way === "back") { if (history.length) goTo(history.pop(), { remember: false }); return; }
    const values = way === "kld" ? shown.detail?.kld[shown.model] ?? [] : shown.deltas[shown.model];
    const sign = way === "loss" ? -1 : 1;
    const key = `${way}${shown.model}`;
    const order = (shown.orders[key] ??= Array.from(values.keys()).filter((i) => sign * values[i] > 0).sort((a, b) => sign * (values[b] - values[a])));
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
    const settled = ratio.slice(ppldelta.unsettled(ratio.length, step));
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
  ppldelta.openDocument = (family, k, { model = null, token = null, scroll = false } = {}) => {
    state.set({ open: { family, document: k }, focus: { family, model: model ?? (state.focus.family === family ? state.focus.model : 0) }, token });
    return scroll ? opening.then(show) : opening;
  };

  const show = () => { // where the reader stands beside the plane, it may be in view already
    const tools = document.querySelector(".reader-tools"), box = tools.getBoundingClientRect();
    if (box.top < 0 || place.text.getBoundingClientRect().bottom > window.innerHeight + 80) tools.scrollIntoView();
  };

  async function open() {
    const ticket = ++asked;
    const { family, document: k } = state.open;
    place.text.setAttribute("aria-busy", "true");
    let loaded;
    try {
      await state.documents(family);
      loaded = await ppldelta.opened.load(family, k);
    } catch (error) {
      if (ticket === asked) { shown = null; place.text.replaceChildren(); place.strip.textContent = `This document cannot be shown: ${error.message}.`; }
      return;
    } finally {
      if (ticket === asked) place.text.removeAttribute("aria-busy");
    }
    if (ticket !== asked) return; // another one was asked for meanwhile
    ppldelta.opened.choose(loaded, state.focus.model);
    [shown, history] = [{ ...loaded, orders: {} }, []];
    place.document.value = `${family}.${k}`;
    paint();
    goToToken();
    summary();
  }

  document.addEventListener("click", (event) => { // also where the address is that already
    const link = event.target.closest?.('a[href^="#read="]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const [family, k, model, token = null] = link.getAttribute("href").slice("#read=".length).split(".").map(Number);
    ppldelta.openDocument(family, k, { model, token, scroll: true });
  });

  place.text.addEventListener("mouseover", (event) => {
    const u = event.target.dataset?.u;
    if (u === undefined || !shown) { ppldelta.hideTip(); return; }
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
    else if (step && shown) goTo(current ? Number(current.dataset.u) + step : 0, { remember: false, stepping: true });
    else return;
    event.preventDefault();
  });
  place.whitespace.addEventListener("change", () => { if (shown) { paint(); goToToken(); } });
  place.document.addEventListener("change", () => {
    const [family, k] = place.document.value.split(".").map(Number);
    ppldelta.openDocument(family, k);
  });

  state.subscribe((what) => {
    const has = (...names) => names.some((name) => what.has(name));
    if (!started || !has("open", "focus", "token", "shade", "strips", "hidden", "unit")) return;
    if (state.open && state.focus.family !== state.open.family) { // another family's model: its document that moved most
      const first = index.families[state.focus.family].token_documents[0];
      if (first !== undefined) ppldelta.openDocument(state.focus.family, first, { model: state.focus.model });
      return;
    }
    if (state.open && (shown?.family !== state.open.family || shown.k !== state.open.document)) {
      if (what.has("open")) opening = open();
      return;
    }
    if (!shown) return;
    const changed = shown.model !== state.focus.model;
    if (changed) {
      ppldelta.opened.choose(shown, state.focus.model);
      const { scrollTop } = place.text;
      if (shown.spans) {
        paint();
        place.text.scrollTop = scrollTop;
        history = [];
      }
      goToToken({ scroll: false });
    } else if (what.has("token") && (state.token ?? undefined) !== shown.current) goToToken();
    if (changed || has("shade", "unit")) summary();
    if (changed || has("shade", "strips") || (what.has("hidden") && state.strips === "on")) repaint();
  });

  ppldelta.reader = {
    show, goTo, view: () => shown,
    /** Fills the list of documents that can be read, and opens the one that the state says. */
    async start() {
      const readable = index.families.flatMap((family, f) => family.token_documents.map((k) => [f, k]));
      if (!readable.length) {
        for (const id of ["tokens", "course"]) document.getElementById(id).hidden = true;
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
      const opens = index.families.findIndex((family) => family.token_documents.length), first = state.loaded.get(opens).names[index.families[opens].token_documents[0]];
      document.getElementById("readable").textContent = `Of the documents here, ${first} changed most in the mean.` + (included === all ? ""
        : included < wanted ? ` ${count(included)} of ${count(all)} documents are in this file, those that changed most; as a folder a report holds all.`
          : ` ${count(included)} of ${count(all)} documents are here, those that changed most.`);
      started = true;
      await (opening = open());
    },
  };
})();
