// The data of the page: named blocks, each base64 of raw deflate, in the page itself or in files of a folder beside
// it, decoded when they are first asked for. A block is a JSON header and typed arrays; blocks.py says its layout.
const ppldelta = (() => {
  "use strict";

  const TYPES = { f64: Float64Array, f32: Float32Array, u32: Uint32Array, i32: Int32Array, u16: Uint16Array, i16: Int16Array, u8: Uint8Array };
  const decoded = new Map(); // name → promise of its fields
  const waiting = new Map(); // name → how to hand over what a file of the folder brings

  function fromBase64(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  function unshuffled(bytes, size) { // all first bytes, all second bytes … → as they belong
    const n = bytes.length / size;
    const out = new Uint8Array(bytes.length);
    for (let b = 0; b < size; b++) for (let i = 0; i < n; i++) out[i * size + b] = bytes[b * n + i];
    return out.buffer;
  }

  async function decode(text) {
    const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const buffer = await new Response(stream).arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const fields = { header };
    let at = 4 + length;
    for (const [name, kind, count] of header.fields) {
      at = Math.ceil(at / 8) * 8;
      const type = kind.replace("~", "");
      if (type === "json") {
        fields[name] = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, at, count)));
        at += count;
        continue;
      }
      const size = TYPES[type].BYTES_PER_ELEMENT * count;
      fields[name] = kind[0] === "~"
        ? new TYPES[type](unshuffled(new Uint8Array(buffer, at, size), TYPES[type].BYTES_PER_ELEMENT))
        : new TYPES[type](buffer, at, count);
      at += size;
    }
    return fields;
  }

  function fetched(name) { // a script element, since a page that was opened from disk may fetch nothing else
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      waiting.set(name, resolve);
      script.onload = () => { script.remove(); if (waiting.delete(name)) reject(new Error(`data/${name}.js holds another block`)); };
      script.onerror = () => { script.remove(); waiting.delete(name); reject(new Error(`data/${name}.js is missing`)); };
      script.src = `data/${name}.js`;
      document.head.append(script);
    });
  }

  return {
    /** Called by the files of a folder. */
    put(name, text) {
      waiting.get(name)?.(text);
      waiting.delete(name);
    },
    /** Promise of the fields of a block, and its `header`. */
    block(name) {
      if (!decoded.has(name)) {
        const element = document.querySelector(`script[data-block="${name}"]`);
        decoded.set(name, (element ? Promise.resolve(element.textContent) : fetched(name)).then(decode)
          .catch((error) => { decoded.delete(name); throw error; })); // a file may be there when it is asked for again
      }
      return decoded.get(name);
    },
    index: JSON.parse(document.getElementById("index").textContent),
  };
})();
