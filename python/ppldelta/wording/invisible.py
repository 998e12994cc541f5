"""Characters that cannot be seen, shown as symbols: `⟦RLO⟧` for the control that turns what follows it around.

Control characters, bidirectional controls, zero-width characters, fillers and tags may stand in texts and names. In a
page they would reorder what stands around them, or hide. Right-to-left letters need none of them and stay as they are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_SHORT = {
    **{0x00AD: "SHY", 0x034F: "CGJ", 0x061C: "ALM", 0x115F: "HCF", 0x1160: "HJF", 0x17B4: "KIVAQ", 0x17B5: "KIVAA"},
    **{0x180B: "FVS1", 0x180C: "FVS2", 0x180D: "FVS3", 0x180E: "MVS", 0x180F: "FVS4", 0x200B: "ZWSP", 0x200C: "ZWNJ"},
    **{0x200D: "ZWJ", 0x200E: "LRM", 0x200F: "RLM", 0x2028: "LSEP", 0x2029: "PSEP", 0x202A: "LRE", 0x202B: "RLE"},
    **{
        0x202C: "PDF",
        0x202D: "LRO",
        0x202E: "RLO",
        0x2060: "WJ",
        0x2061: "FA",
        0x2062: "IT",
        0x2063: "IS",
        0x2064: "IP",
    },
    **{0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0x206A: "ISS", 0x206B: "ASS", 0x206C: "IAFS"},
    **{0x206D: "AAFS", 0x206E: "NADS", 0x206F: "NODS", 0x3164: "HF", 0xFEFF: "BOM", 0xFFA0: "HHF", 0xFFF9: "IAA"},
    **{0xFFFA: "IAS", 0xFFFB: "IAT", 0xE0001: "LTAG"},
    **{0xFE00 + i: f"VS{i + 1}" for i in range(16)},
    **{0xE0100 + i: f"VS{i + 17}" for i in range(240)},
    **{0xE0020 + i: f"TAG {chr(0x20 + i)}" for i in range(95)},
    0xE007F: "TAG END",
}
"""The usual abbreviation of each, by code point."""

JOINERS = (0x200C, 0x200D)
"""Between two letters or pictures of scripts that need them these stay as they are."""

SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
"""Behind the character whose form they choose these stay as they are."""

SYMBOLS: dict[str, tuple[str, str]] = {
    **{chr(c): (f"⟦{short}⟧", f"{unicodedata.name(chr(c)).lower()} (U+{c:04X})") for c, short in _SHORT.items()},
    **{chr(c): (chr(0x2400 + c), f"control character (U+{c:04X})") for c in range(0x20) if chr(c) not in "\t\n\r"},
    chr(0x7F): ("␡", "delete (U+007F)"),
    **{chr(c): (f"⟦U+{c:04X}⟧", f"control character (U+{c:04X})") for c in range(0x80, 0xA0)},
}
"""Of each character the symbol that stands for it, and its name. `page/invisible.js` has them from here."""


def shown(text: str) -> str:
    """A text in which each character that cannot be seen is its symbol."""
    if text.isascii() and text.isprintable():
        return text
    found = []
    for i, c in enumerate(text):
        before, after = text[i - 1 : i], text[i + 1 : i + 2]
        joins = ord(c) in JOINERS and _joined(before) and _joined(after)
        chooses = ord(c) in SELECTORS and bool(before) and not before.isspace() and before not in SYMBOLS
        found.append(c if joins or chooses else SYMBOLS.get(c, (c, ""))[0])
    return "".join(found)


def _joined(c: str) -> bool:
    return c > "\u02ff" and not c.isspace() and (c not in SYMBOLS or ord(c) in SELECTORS)


def replaced(names: Iterable[str]) -> dict[str, str]:
    """What to show in place of each of some names that hold such characters; no two become the same."""
    names = list(dict.fromkeys(names))
    taken, found = set(names), {}
    for name in names:
        symbols = shown(name)
        if symbols == name:
            continue
        while symbols in taken:
            symbols += "′"
        taken.add(symbols)
        found[name] = symbols
    return found
