// Characters that cannot be seen, as symbols with their names: bidirectional controls would reorder what stands around
// them. The symbols and where joiners stay are Python's (`wording/invisible.py`); names have theirs from there.
ppldelta.invisible = (() => {
  "use strict";

  const { symbols, joiners, selectors } = ppldelta.index.invisible;
  const names = Object.fromEntries(Object.values(symbols));
  const joins = new Set(joiners), chooses = new Set(selectors);
  const any = new RegExp(`[${Object.keys(symbols).map((c) => `\\u{${c.codePointAt(0).toString(16)}}`).join("")}]`, "gu");
  const named = /⟦.[^⟧]*⟧|[\u2400-\u2421]/gu;
  const joined = (c) => c !== undefined && c > "\u02ff" && !/\s/.test(c) && (!(c in symbols) || chooses.has(c));

  /** A text with symbols in place of what cannot be seen. */
  function shown(text) {
    return text.replace(any, (c, at) => {
      const before = [...text.slice(Math.max(0, at - 2), at)].at(-1), [after] = text.slice(at + c.length, at + c.length + 2);
      if (joins.has(c) && joined(before) && joined(after)) return c;
      if (chooses.has(c) && before !== undefined && !/\s/.test(before) && !(before in symbols)) return c;
      return symbols[c][0];
    });
  }

  /** What the symbols in a text stand for, each once: "⟦RLO⟧ right-to-left override (U+202E)"; "" if there are none. */
  const explained = (text) => [...new Set(text.match(named) ?? [])].filter((symbol) => symbol in names).map((symbol) => `${symbol} ${names[symbol]}`).join(", ");

  return { shown, explained };
})();
