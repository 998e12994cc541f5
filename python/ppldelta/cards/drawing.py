"""An SVG of lines, marks and text as outlines. Every text is also an `aria-label`, which can be read and searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from ppldelta.cards import glyphs
from ppldelta.cards.glyphs import Weight
from ppldelta.reporting.theme import CHROME, DARK_OF_LIGHT
from ppldelta.wording.names import printable

Anchor = Literal["start", "middle", "end"]
Shape = Literal["circle", "square", "ring"]
Point = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """How a text is set: size in pixels, weight, colour (a role of `theme.CHROME`, or a light colour of a model)."""

    size: float
    weight: Weight = "regular"
    color: str = "ink"
    tabular: bool = False

    def width(self, text: str) -> float:
        """Pixels that a line takes."""
        return glyphs.width(text, self.size, self.weight, tabular=self.tabular)


def shown(name: str) -> str:
    """A name of somebody else's on a card: control characters, bidirectional ones among them, are spelt out."""
    return printable(name) if name.strip() else repr(name)


def fitted(text: str, style: Style, most: float) -> str:
    """A text in at most so many pixels, the middle left out: the end of a model's name says which copy it is."""
    if style.width(text) <= most:
        return text
    low, high = 1, len(text) - 1  # characters that are kept
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if style.width(_cut(text, middle)) <= most else (low, middle - 1)
    return _cut(text, low)


def _cut(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return f"{text[:head]}…{text[len(text) - (kept - head) :]}"


@dataclass(frozen=True)
class Page:
    """What a picture needs to know of the page in which it stands. It takes its colours, light or dark as that is.

    Attributes:
        color: writes a colour as CSS: a role of `theme.CHROME`, or the light colour of a model.
        prefix: what names in the picture begin with, so that the page has none of them twice.
        letters: what the names of outlines begin with; the same for pictures that share them.
        selectable: whether text can be selected.
    """

    color: Callable[[str], str]
    prefix: str
    letters: str
    selectable: bool = False


@dataclass
class Drawing:
    """A picture that grows; places are in pixels from the upper left corner.

    Attributes:
        width: of the picture.
        height: of the picture.
        dark: whether it stands on a dark ground.
        page: in which it stands; None for a file of its own.
    """

    width: int
    height: int
    dark: bool = False
    page: Page | None = None
    _parts: list[str] = field(default_factory=list)
    _used: dict[str, str] = field(default_factory=dict)

    def color(self, color: str) -> str:
        """A role, or the light colour of a model, as it is on this ground."""
        if self.page:
            return self.page.color(color)
        light, dark = CHROME[color] if color in CHROME else (color, DARK_OF_LIGHT[color])
        return dark if self.dark else light

    def text(
        self, at: Point, text: str, style: Style, *, anchor: Anchor = "start", turn: float = 0.0, halo: bool = False
    ) -> float:
        """Writes a line of text on a base line, and returns how wide it is.

        Args:
            at: where the base line begins, has its middle, or ends.
            text: one line.
            style: how it is set.
            anchor: which of these it is.
            turn: degrees, clockwise, around `at`.
            halo: whether the ground shows around the letters, where they may lie over something.
        """
        placed, advance = glyphs.face(style.weight).place(text, tabular=style.tabular)
        scale = style.size / 1000
        wide = advance * scale
        left = {"start": 0.0, "middle": -wide / 2, "end": -wide}[anchor]
        turned = f"rotate({_n(turn)})" if turn else ""
        moved = f"translate({_n(at[0])} {_n(at[1])}){turned}" + (f"translate({_n(left)} 0)" if left else "")
        inside = []
        for each in placed:
            if each.path:
                inside.append(f'<path transform="translate({_n(each.x)} {_n(each.y)})" d="{each.path}"/>')
                continue
            key = f"{style.weight[0]}{each.name if each.name[1:] else format(ord(each.name), 'x')}"
            self._used[key] = glyphs.face(style.weight).outline(each.name)
            if each.scale == 1:
                inside.append(f'<use href="#{self._letters}{key}" x="{_n(each.x)}"/>')
            else:
                small = f"translate({_n(each.x)} {_n(each.y)})scale({_n(each.scale)})"
                inside.append(f'<use href="#{self._letters}{key}" transform="{small}"/>')
        placing = f'transform="{moved}scale({scale:g} {-scale:g})"'
        if halo:  # below all letters: each one's rim would cover the one before
            ground = self.color("surface")
            rim = f'stroke="{ground}" stroke-opacity="0.85" stroke-width="280" stroke-linejoin="round"'
            self._parts.append(f'<g aria-hidden="true" fill="{ground}" {rim} {placing}>{"".join(inside)}</g>')
        said = f'role="img" aria-label={quoteattr(text)}'
        if self.page and self.page.selectable:  # what is selected lies upon the letters, and is not seen
            said = 'aria-hidden="true"'
            self._parts.append(
                f'<text transform="{moved}" font-size="{_n(style.size)}" textLength="{_n(wide)}" '
                f'lengthAdjust="spacingAndGlyphs" fill="transparent">{escape(text)}</text>'
            )
        self._parts.append(f'<g {said} fill="{self.color(style.color)}" {placing}>{"".join(inside)}</g>')
        return wide

    def line(self, a: Point, b: Point, color: str, *, width: float = 1.0, dash: str = "") -> None:
        """Draws a straight line."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<path d="M{_n(a[0])} {_n(a[1])}L{_n(b[0])} {_n(b[1])}" fill="none" stroke="{self.color(color)}" '
            f'stroke-width="{_n(width)}"{dashed}/>'
        )

    def path(self, points: Sequence[Point], color: str, *, width: float) -> None:
        """Draws an open line through points."""
        self._parts.append(
            f'<path d="{_way(points)}" fill="none" stroke="{self.color(color)}" stroke-width="{_n(width)}" '
            'stroke-linejoin="round"/>'
        )

    def area(self, rings: Iterable[Sequence[Point]], color: str, *, fill: float, stroke: float = 0.0) -> None:
        """Fills closed outlines, with holes where they run the other way round.

        Args:
            rings: the outlines.
            color: of both.
            fill: opacity of the area.
            stroke: width of the outline; 0 for none.
        """
        ways = "".join(f"{_way(ring)}Z" for ring in rings)
        if ways:
            shade = self.color(color)
            line = f' stroke="{shade}" stroke-width="{_n(stroke)}" stroke-opacity="0.75"' if stroke else ""
            self._parts.append(f'<path d="{ways}" fill="{shade}" fill-opacity="{_n(fill)}"{line}/>')

    def box(self, a: Point, b: Point, color: str, *, radius: float = 0.0, edge: str = "", dash: str = "") -> None:
        """Fills a rectangle between two corners; `edge` is the colour of its outline."""
        (left, right), (top, bottom) = sorted((a[0], b[0])), sorted((a[1], b[1]))
        rounded = f' rx="{_n(radius)}"' if radius else ""
        line = f' stroke="{self.color(edge)}"' + (f' stroke-dasharray="{dash}"' if dash else "") if edge else ""
        self._parts.append(
            f'<rect x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" height="{_n(bottom - top)}"{rounded} '
            f'fill="{self.color(color)}"{line}/>'
        )

    def mark(
        self,
        at: Point,
        color: str,
        *,
        shape: Shape = "circle",
        size: float = 8.0,
        opacity: float = 1.0,
        rim: str = "surface",
    ) -> None:
        """Draws a mark; by default its rim has the ground's colour. A ring is hollow, and stands for a reference."""
        x, y = at
        ground, own = self.color(rim), self.color(color)
        fill, stroke, wide = (self.color("surface"), own, 2.5) if shape == "ring" else (own, ground, size / 5)
        faint = f' opacity="{_n(opacity)}"' if opacity < 1 else ""
        look = f'fill="{fill}" stroke="{stroke}" stroke-width="{_n(wide)}"{faint}'
        if shape == "square":
            half = 0.9 * size
            self._parts.append(
                f'<rect x="{_n(x - half)}" y="{_n(y - half)}" width="{_n(2 * half)}" height="{_n(2 * half)}" '
                f'rx="1.5" {look}/>'
            )
        else:
            self._parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(size)}" {look}/>')

    def clipped(self, a: Point, b: Point) -> None:
        """What is drawn until `unclipped` shows only inside a rectangle."""
        key = f"{self._prefix}clip{len(self._parts)}"
        self._parts.append(
            f'<clipPath id="{key}"><rect x="{_n(a[0])}" y="{_n(a[1])}" width="{_n(b[0] - a[0])}" '
            f'height="{_n(b[1] - a[1])}"/></clipPath><g clip-path="url(#{key})">'
        )

    def unclipped(self) -> None:
        """Ends what `clipped` began."""
        self._parts.append("</g>")

    @property
    def _prefix(self) -> str:
        return self.page.prefix if self.page else ""

    @property
    def _letters(self) -> str:
        return self.page.letters if self.page else ""

    @property
    def outlines(self) -> dict[str, str]:
        """The letters that were used: elements by name, for a page where several pictures share them."""
        return {key: f'<path id="{self._letters}{key}" d="{path}"/>' for key, path in self._used.items()}

    def part(self) -> str:
        """The picture as a part of a page, which holds its outlines."""
        body = "\n".join(self._parts)
        return (
            f'<svg class="{self._prefix}" viewBox="0 0 {self.width} {self.height}" aria-hidden="true">\n'
            f'<rect width="{self.width}" height="{self.height}" fill="{self.color("surface")}"/>\n{body}\n</svg>'
        )

    def svg(self, title: str, description: str) -> str:
        """The picture as a file, with a title and a description for those who do not see it; needs no other file."""
        outlines = "".join(path for _, path in sorted(self.outlines.items()))
        body = "\n".join(self._parts)
        named, told = f"{self._prefix}title", f"{self._prefix}description"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" aria-labelledby="{named} {told}">\n'
            f'<title id="{named}">{escape(title)}</title>\n<desc id="{told}">{escape(description)}</desc>\n'
            f"<defs>{outlines}</defs>\n"
            f'<rect width="{self.width}" height="{self.height}" fill="{self.color("surface")}"/>\n{body}\n</svg>\n'
        )


def _way(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _n(value: float) -> str:
    """A number with two digits after the point and nothing superfluous."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
