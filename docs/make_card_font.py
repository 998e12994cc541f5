"""Writes python/ppldelta/cards/inter.json, the outlines that cards are set in, from the files of the font Inter.

    pip install fonttools brotli uharfbuzz
    npm pack @fontsource/inter@5.3.0 && tar xzf fontsource-inter-5.3.0.tgz
    python docs/make_card_font.py package/files

Outlines, advances and kerning are in thousandths of the type's size. The arrows that they lack are their ↑, turned.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

import uharfbuzz
from fontTools.misc.transform import Transform
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.pens.transformPen import TransformPen
from fontTools.ttLib import TTFont

UNITS = 1000
TARGET = Path(__file__).parents[1] / "python" / "ppldelta" / "cards" / "inter.json"
SUBSETS = ("latin", "latin-ext", "greek", "cyrillic")
RANGES = ((0x20, 0x7F), (0xA1, 0x180), (0x370, 0x400), (0x400, 0x460))
MORE = "–—‘’“”•…←↑→↓↘−×≈≠≤≥"
TURNED = {"→": -90, "↘": -135, "↓": 180}
KERNED = 4
"""Pairs whose distance changes by less are left out."""

Glyph = list[object]


class Subset:
    """One file of the font."""

    def __init__(self, path: Path) -> None:
        self.font = TTFont(path)
        self.font.flavor = None
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "font.ttf"
            self.font.save(plain)
            self.shaper = uharfbuzz.Font(uharfbuzz.Face(plain.read_bytes()))
        self.glyphs = self.font.getGlyphSet()
        self.scale = UNITS / self.font["head"].unitsPerEm

    def glyph(self, name: str, turn: float = 0.0) -> Glyph:
        """Advance and outline of a glyph, perhaps turned by some degrees around its middle."""
        wide = self.glyphs[name].width * self.scale
        x, y = wide / 2, 0.36 * UNITS
        way = Transform().translate(x, y).rotate(math.radians(turn)).translate(-x, -y).scale(self.scale)
        pen = SVGPathPen(self.glyphs, ntos=lambda value: str(round(value)))
        self.glyphs[name].draw(TransformPen(pen, way))
        return [round(wide) + (120 if turn not in (0, 180) else 0), pen.getCommands()]

    def shape(self, text: str, features: dict[str, bool]) -> list[tuple[int, int]]:
        """Glyph and advance for each character."""
        buffer = uharfbuzz.Buffer()
        buffer.add_str(text)
        buffer.guess_segment_properties()
        uharfbuzz.shape(self.shaper, buffer, features)
        return [
            (info.codepoint, at.x_advance) for info, at in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True)
        ]

    def tabular(self) -> dict[str, Glyph]:
        """The figures of one width."""
        order = self.font.getGlyphOrder()
        return {digit: self.glyph(order[self.shape(digit, {"tnum": True})[0][0]]) for digit in "0123456789"}

    def kerning(self) -> dict[str, dict[str, int]]:
        """By how much two characters of ASCII stand closer than their advances say."""
        plain = {"calt": False, "liga": False, "ccmp": False}
        found: dict[str, dict[str, int]] = {}
        for a in map(chr, range(0x21, 0x7F)):
            for b in map(chr, range(0x21, 0x7F)):
                pair = self.shape(a + b, plain)
                own = sum(self.shaper.get_glyph_h_advance(glyph) for glyph, _ in pair)
                closer = round((sum(advance for _, advance in pair) - own) * self.scale)
                if len(pair) == 2 and abs(closer) >= KERNED:
                    found.setdefault(a, {})[b] = closer
        return found


def weight(folder: Path, number: int) -> dict[str, dict[str, object]]:
    """All that is kept of one weight."""
    subsets = [Subset(folder / f"inter-{name}-{number}-normal.woff2") for name in SUBSETS]
    glyphs: dict[str, object] = {}
    for subset in subsets:
        for code, name in subset.font.getBestCmap().items():
            if any(low <= code < high for low, high in RANGES) or chr(code) in MORE:
                glyphs.setdefault(chr(code), subset.glyph(name))
    up = subsets[0].font.getBestCmap()[ord("↑")]
    for character, turn in TURNED.items():
        glyphs.setdefault(character, subsets[0].glyph(up, turn))
    return {
        "glyphs": dict(sorted(glyphs.items())),
        "tabular": dict(subsets[0].tabular()),
        "kerning": dict(subsets[0].kerning()),
    }


def lines(value: object, depth: int) -> str:
    """JSON with a line for each entry of the outer levels."""
    if not isinstance(value, dict) or not depth:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (
        "{" + ",\n".join(f"{json.dumps(k, ensure_ascii=False)}:{lines(v, depth - 1)}" for k, v in value.items()) + "}"
    )


if __name__ == "__main__":
    files = Path(sys.argv[1])
    weights = {"regular": weight(files, 400), "bold": weight(files, 600)}
    TARGET.write_text(lines({"family": "Inter", "units": UNITS, "weights": weights}, 4) + "\n", encoding="utf-8")
