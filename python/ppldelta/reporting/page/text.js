// The text of the open document: blocks, of which only those near the view hold a mark for each unit of text, and long
// context that was not scored, folded. Says whether a text is code, which is set in monospace.
ppldelta.text = (() => {
  "use strict";

  const { element, count } = ppldelta.format;
  const place = document.getElementById("text");
  const BLOCK = 300; // units after which the next line break begins a block
  const LONG = 900; // units after which a space does, so that a text of one line is in blocks too
  const FOLD = 40; // units of context from which on it is folded, but for the last ones
  const ON_PAPER = 6000; // units that are coloured in print
  const BEFORE = 12; // units of context that stand before the first scored one
  const LINE = 28, ACROSS = 80; // pixels of a line and its characters: how high a block is until it was in view
  const CODE = /\.(py|pyi|ipynb|js|mjs|ts|tsx|jsx|c|h|cc|cpp|hpp|cu|rs|go|java|kt|swift|rb|php|pl|lua|sh|bash|ps1|sql|r|jl|hs|ml|scala|cs|css|json|jsonl|toml|ya?ml|xml|html?|tex|diff|patch|s|asm|cmake|mk)$/i;
  const WORDS = /\.(txt|md|rst|text)$/i;

  let shown = null, blocks = [], look = null;

  /** Why a document is set as code; "" for prose. Its category says so, else its name, else its indentation. */
  function codeBecause(name, category, units) {
    if (/^(code|coding|source|programming)\b/i.test(category)) return `its category is “${category}”`;
    if (CODE.test(name)) return `its name ends in ${name.match(CODE)[0]}`;
    if (/^(prose|fiction|news|wiki)/i.test(category)) return "";
    const lines = units.slice(0, 4000).map((unit) => unit.text).join("").split("\n").filter((line) => line.trim());
    const indented = lines.filter((line) => /^(\t| {2,})\S/.test(line)).length;
    return lines.length > 4 && indented > (WORDS.test(name) ? 0.4 : 0.25) * lines.length ? `${indented} of ${lines.length} lines are indented` : "";
  }

  /** Runs of units in turn, those of context that are long enough to be folded among them. */
  function runs(units, isScored) {
    const found = [];
    let from = 0, u = 0;
    const add = (until, folded) => { if (until > from) found.push({ first: from, last: until - 1, folded }); from = Math.max(from, until); };
    while (u < units.length) {
      const start = u;
      while (u < units.length && !isScored(units[u])) u++;
      let until = u < units.length ? u - BEFORE : u;
      for (let back = 0; back < 8 && until < u && until > start && !/^\s/.test(units[until].text); back++) until--; // at a word
      if (until - start >= FOLD && until - start < units.length) { add(start, false); add(until, true); }
      while (u < units.length && isScored(units[u])) u++;
    }
    add(units.length, false);
    return found;
  }

  function cut(first, last) { // [first, last] of each block of a run
    const found = [];
    for (let from = first, u = first; u <= last; u++) {
      const n = u - from + 1, { text } = shown.units[u];
      const ends = (n >= BLOCK && text.endsWith("\n")) || (n >= LONG && (/\s$/.test(text) || /^\s/.test(shown.units[u + 1]?.text ?? " "))) || n >= 2 * LONG;
      if (!ends && u < last) continue;
      found.push([from, u]);
      from = u + 1;
    }
    return found;
  }

  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) paintBlock(target.block);
  }, { root: place, rootMargin: "600px 0px" });

  function paintBlock(block) {
    if (block.painted) return;
    block.painted = true;
    const marks = [];
    for (let u = block.first; u <= block.last; u++) {
      marks.push(element("span", { "data-u": u }, look.written(shown.units[u].text)));
      dress(marks.at(-1), shown.units[u]);
    }
    block.element.replaceChildren(...marks);
  }

  function dress(mark, unit) {
    mark.className = look.name(unit) + ["at", "passage"].map((name) => (mark.classList.contains(name) ? ` ${name}` : "")).join("");
    const layers = look.strips(unit);
    if (layers) mark.style.backgroundImage = layers; else mark.style.removeProperty("background-image");
  }

  function makeBlock(first, last) {
    let characters = 0, lines = 0, text = "";
    for (let u = first; u <= last; u++) text += look.written(shown.units[u].text);
    for (const line of text.split("\n")) { characters += line.length; lines += Math.max(1, Math.ceil(line.length / ACROSS)); }
    const goesOn = last + 1 < shown.units.length && !text.endsWith("\n");
    const made = { first, last, characters, painted: false, element: element("div", { class: goesOn ? "block goes-on" : "block" }, text) };
    made.element.style.containIntrinsicSize = `auto ${(lines - (text.endsWith("\n") ? 1 : 0)) * LINE}px`;
    made.element.block = made;
    near.observe(made.element);
    return made;
  }

  /** Shows a document; `appearance` says for a unit the `name` of its shade and its `strips`, and how text is `written`. */
  function show(loaded, appearance, isScored) {
    [shown, look] = [loaded, appearance];
    near.disconnect();
    blocks = [];
    const parts = [];
    if (!shown.complete) parts.push(element("p", { class: "quiet" }, "This result keeps only the scored tokens; score again with this version to see the whole text."));
    for (const run of runs(shown.units, isScored)) {
      const made = cut(run.first, run.last).map(([first, last]) => makeBlock(first, last));
      blocks.push(...made);
      if (run.folded) {
        const n = shown.units[run.last].last - shown.units[run.first].first + 1;
        const label = `${count(n)} tokens ${run.last + 1 < shown.units.length ? "of context" : "to the end"}, not scored`;
        const body = element("div", { class: "folded", hidden: true }, ...made.map((each) => each.element));
        const button = element("button", { type: "button", class: "fold", "aria-expanded": "false", "aria-label": label, "data-label": label });
        button.addEventListener("click", () => unfold(body, body.hidden));
        for (const each of made) each.folded = body;
        body.button = button;
        parts.push(button, body);
      } else parts.push(...made.map((each) => each.element));
    }
    place.replaceChildren(...parts);
    const open = blocks.filter((block) => !block.folded?.hidden);
    for (const block of open.slice(0, 2)) paintBlock(block); // at once; the others when they come near
    place.scrollTop = 0;
  }

  function unfold(body, open = true) {
    body.hidden = !open;
    body.button.setAttribute("aria-expanded", String(open));
    place.dispatchEvent(new Event("refold"));
  }

  /** The mark of a unit, which is made if it is not there yet, and unfolded. */
  function mark(u) {
    let low = 0, high = blocks.length - 1;
    while (low < high) { const middle = (low + high) >> 1; if (blocks[middle].last < u) low = middle + 1; else high = middle; }
    const block = blocks[low];
    if (block?.folded?.hidden) unfold(block.folded);
    if (block) paintBlock(block);
    return block?.element.children[u - block.first] ?? null;
  }

  /** The number of the unit that holds a token; -1 if none does. */
  function unitAt(units, t) {
    let low = 0, high = units.length - 1;
    while (low < high) { const middle = (low + high) >> 1; if (units[middle].last < t) low = middle + 1; else high = middle; }
    return units[low] && units[low].first <= t && t <= units[low].last ? low : -1;
  }

  /** Shades anew what is there. */
  function repaint() {
    for (const block of blocks) {
      if (block.painted) for (let u = block.first; u <= block.last; u++) dress(block.element.children[u - block.first], shown.units[u]);
    }
  }

  /** Colours the text for paper, where all of it is in view; beyond some length it says how far the colours reach. */
  function onPaper() {
    let n = 0;
    const open = blocks.filter((block) => !block.folded?.hidden);
    for (const block of open) {
      if (n < ON_PAPER) paintBlock(block);
      n += block.last - block.first + 1;
    }
    if (n > 1.5 * ON_PAPER) place.dataset.paper = `On paper only the first tokens, about ${count(ON_PAPER)}, are coloured.`;
    else delete place.dataset.paper;
  }

  return { onPaper, show, mark, repaint, unitAt, codeBecause, blocks: () => blocks.filter((block) => !block.folded?.hidden) };
})();
