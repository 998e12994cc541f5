// How numbers are written, as numbers.py writes them, and what else several panels share.
ppldelta.format = (() => {
  "use strict";

  const MINUS = "\u2212", THIN = "\u202f", NONE = "\u2013";

  function fixed(value, digits = 3) {
    if (!Number.isFinite(value)) return NONE;
    const [whole, part] = Math.abs(value).toFixed(digits).split(".");
    const text = whole.replace(/\B(?=(\d{3})+$)/g, THIN) + (part ? `.${part}` : "");
    return (value < 0 && /[1-9]/.test(text) ? MINUS : "") + text;
  }

  function signed(value, digits = 3) {
    const text = fixed(value, digits);
    return !Number.isFinite(value) || text[0] === MINUS || !/[1-9]/.test(text) ? text : `+${text}`;
  }

  /** Digits that give the largest of some values three significant ones, within 2 to 5. */
  function decimals(...values) {
    const largest = Math.max(0, ...values.filter(Number.isFinite).map(Math.abs));
    return largest === 0 ? 3 : Math.min(Math.max(2 - Math.floor(Math.log10(largest)), 2), 5);
  }

  /** A number with three significant digits, however small it is. */
  function significant(value) {
    if (!Number.isFinite(value)) return NONE;
    const size = Math.abs(value);
    if (size > 0 && size < 9.95e-5) {
      const [digits, power] = size.toExponential(1).split("e-");
      return `${value < 0 ? MINUS : ""}${digits}e${MINUS}${power}`;
    }
    return fixed(value, size === 0 ? 2 : Math.max(2 - Math.floor(Math.log10(Number(size.toPrecision(3)))), 0));
  }

  const perplexity = (value) => fixed(value, value < 10 ? 3 : value < 100 ? 2 : value < 1000 ? 1 : 0);
  const count = (value) => fixed(value, 0);
  /** A probability of which the natural log is given; where per cent would be unreadable, as "1 in 119 000". */
  function probability(logp) {
    if (!Number.isFinite(logp)) return NONE;
    const part = Math.exp(Math.min(logp, 0)), readable = `${part >= 0.9995 ? fixed(100 * part, 2) : significant(100 * part)}\u00a0%`;
    if (part >= 1e-3) return readable;
    if (part < 1e-9) return `less than 1 in 10${String(Math.floor(-logp / Math.LN10)).replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit])}`;
    const once = `1 in ${count(Number((1 / part).toPrecision(3)))}`;
    return part >= 1e-4 ? `${once} (${readable})` : once;
  }

  /** Whitespace and control characters by name, for a token that stands alone. */
  const visible = (text) => ppldelta.invisible.shown(text).replace(/[\n\t\r\u00a0]/g, (c) => (
    { "\n": "\u21b5", "\t": "\u21e5", "\r": "\u240d", "\u00a0": "\u237d" }[c]
  )).replace(/^ | $/g, "\u00b7");

  /** An element with attributes and children; texts are set as text, never as HTML. */
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) made.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  const PIECES = {
    name: (text) => element("code", {}, text), category: (text) => element("em", {}, text), number: (text) => element("b", { class: "num" }, text),
    interval: (text) => element("span", { class: "interval" }, text), token: (text) => element("code", { class: "piece", dir: "auto" }, visible(text)),
  };
  /** A piece of a sentence (`sentences.Piece`) as an element, or as text. */
  const piece = ([kind, text]) => PIECES[kind]?.(text) ?? text;

  /** Hands something to the user as a file. */
  function save(name, blob) {
    const link = element("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /** Likewise a table as CSV. */
  function saveCsv(name, rows) {
    const tame = (cell) => (/^[=+@\t\r]|^-(?![\d.])/.test(cell) ? `'${cell}` : cell); // a file's name is no formula
    const quoted = (cell) => (/[",\n\r]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    const text = rows.map((row) => row.map((cell) => quoted(tame(String(cell ?? "")))).join(",")).join("\r\n");
    save(name, new Blob(["\ufeff", text, "\r\n"], { type: "text/csv" }));
  }

  return { fixed, signed, perplexity, count, probability, decimals, significant, visible, element, piece, save, saveCsv };
})();
