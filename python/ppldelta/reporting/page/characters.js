// Tokens as text: a token may end within a character, and may hold bytes that are no text at all.
ppldelta.characters = (() => {
  "use strict";

  function unfinished(bytes) { // whether the last character lacks bytes
    for (let back = 1; back <= Math.min(3, bytes.length); back++) {
      const byte = bytes[bytes.length - back];
      if (byte < 0x80) return false;
      if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2);
    }
    return false;
  }

  function escaped(bytes) { // bytes that are no text as \xNN
    const text = new TextDecoder("utf-8").decode(Uint8Array.from(bytes));
    return text.includes("\ufffd") ? bytes.map((b) => (b < 0x80 ? String.fromCharCode(b) : `\\x${b.toString(16).padStart(2, "0")}`)).join("") : text;
  }

  /** Units of text of some `tokens`, whose `bytes` a function gives: most often one token, several if a character is split. */
  return (tokens, bytes) => {
    const whole = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const alone = new Map(); // token → its text, null if it is none alone: long texts use the same ones again and again
    const units = [];
    let first = 0, pending = [];
    const read = (token) => {
      let text = null;
      try { text = whole.decode(bytes(token)); } catch { /* part of a character */ }
      alone.set(token, text);
      return text;
    };
    for (let t = 0; t < tokens.length; t++) {
      const text = pending.length ? null : alone.get(tokens[t]) ?? (alone.has(tokens[t]) ? null : read(tokens[t]));
      if (text !== null) {
        units.push({ first: t, last: t, text });
        first = t + 1;
        continue;
      }
      pending.push(...bytes(tokens[t]));
      if (t + 1 < tokens.length && t - first < 7 && unfinished(pending)) continue;
      let joined;
      try { joined = whole.decode(Uint8Array.from(pending)); } catch { joined = escaped(pending); }
      units.push({ first, last: t, text: joined });
      first = t + 1;
      pending = [];
    }
    return units;
  };
})();
