"""What a notebook shows of our objects: one look for all, in the page's colours, light or dark as the notebook is.

Notebooks say by an attribute or a class whether they are dark, and each front end has its own; one that says nothing is
light. Text is escaped by jinja2's `Markup`, since names of files and documents are somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from ppldelta.reporting.sentences import Piece, marked
from ppldelta.reporting.tables import Table
from ppldelta.reporting.theme import CHROME, DARK_OF_LIGHT, FONT, LIGHT
from ppldelta.wording.names import printable, shown_name

_DARK = (
    'body[data-jp-theme-light="false"]',  # JupyterLab, Notebook 7, nbconvert
    "body.vscode-dark",
    "body.vscode-high-contrast:not(.vscode-high-contrast-light)",
    'html[theme="dark"]',  # Colab
    '[data-theme="dark"]',  # themes of Sphinx
)
"""Selectors of what a dark notebook lies in."""


def variable(color: str) -> str:
    """A role of the theme, or the light colour of a model, as CSS that is its dark colour in a dark notebook."""
    light = LIGHT.get(color, color)
    return f"var(--ppldelta-{light[1:]},{light})"


def _style() -> str:
    role = {name: variable(name) for name in CHROME}
    dark = ";".join(f"--ppldelta-{light[1:]}:{dark}" for light, dark in DARK_OF_LIGHT.items())
    rules = {
        ",".join(f"{each} .ppldelta" for each in _DARK): dark,
        ".ppldelta": f"max-width:64em;color:{role['ink']};background:{role['surface']};font:14px/1.5 {FONT};"
        "padding:2px 0",
        ".ppldelta svg": f"display:block;width:100%;height:auto;border:1px solid {role['line']};border-radius:6px;"
        "box-sizing:border-box",
        ".ppldelta p": "margin:8px 10px",
        ".ppldelta .scroll": "overflow-x:auto;margin:8px 0",
        ".ppldelta table": "border-collapse:collapse;margin:0 10px;font-size:12.5px;border:0",
        ".ppldelta table tr,.ppldelta table tr:hover": "background:none!important",
        ".ppldelta th,.ppldelta td": "padding:4px 5px!important;text-align:right!important;vertical-align:top;border:0;"
        f"border-bottom:1px solid {role['line']};font-weight:400;color:{role['ink']};white-space:nowrap;max-width:none;"
        "font-variant-numeric:tabular-nums",
        ".ppldelta th.name,.ppldelta td.name,.ppldelta tbody th": "text-align:left!important",
        ".ppldelta tbody th": "font-weight:600",
        ".ppldelta small": f"display:block;color:{role['muted']};font-size:11px",
        ".ppldelta i": "display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:7px",
        ".ppldelta code": f"background:{role['sunken']};color:{role['ink']};padding:0 4px;border-radius:3px",
        ".ppldelta a": f"color:{role['accent']}",
        ".ppldelta .muted": f"color:{role['muted']};font-size:12px",
    }
    return "".join(f"{selector}{{{rule}}}" for selector, rule in rules.items())


def fragment(*parts: Markup) -> str:
    """HTML for a cell's output.

    Args:
        parts: from top to bottom.
    """
    return f'<div class="ppldelta"><style>{_style()}</style>{Markup().join(parts)}</div>'


def paragraph(pieces: Sequence[Piece], *, muted: bool = False) -> Markup:
    """A sentence; names of it stand as code."""
    tag = Markup('<p class="muted">') if muted else Markup("<p>")
    return (
        tag
        + Markup().join(
            Markup("<code>{}</code>").format(each.text) if each.kind in ("name", "category") else escape(each.text)
            for each in pieces
        )
        + Markup("</p>")
    )


def sentence(text: str, *, muted: bool = False) -> Markup:
    """Likewise of a text in which backticks stand around names."""
    return paragraph(marked(text), muted=muted)


def link(href: str, text: str) -> Markup:
    """A line that leads to a file."""
    return Markup('<p><a href="{}" target="_blank">{}</a></p>').format(href, text)


def models(table: Table, names: Sequence[str], colors: Sequence[str]) -> Markup:
    """A table of models with intervals.

    Args:
        table: the first column holds their labels.
        names: shorter ones; the labels are shown on hover.
        colors: the light one of each row.
    """
    head = [
        Markup('<th scope="col" class="{}" title="{}">{}{}</th>').format(
            "number" if column.kind == "number" else "name", column.help, column.title, _small(column.unit)
        )
        for column in table.columns
    ]
    rows = []
    for row, name, color in zip(table.rows, names, colors, strict=True):
        dot = Markup('<i style="background:{}"></i>').format(variable(color))
        label = printable(row[0].text)
        first = Markup('<th scope="row" title="{}">{}{}</th>').format(label, dot, shown_name(name))
        rest = [
            Markup('<td class="{}">{}{}</td>').format(
                "name" if cell.kind == "name" else "number", cell.text, _small(cell.note)
            )
            for cell in row[1:]
        ]
        rows.append(Markup().join([first, *rest]))
    return _table(Markup().join(head), rows)


def plain(head: Sequence[str], rows: Iterable[Sequence[str]], *, n_left: int = 1) -> Markup:
    """A table of texts; the first `n_left` columns are aligned on the left, and the first one names the row."""

    def cell(at: int, text: str, tag: str) -> Markup:
        return Markup("<{0} class='{1}'>{2}</{0}>").format(tag, "name" if at < n_left else "number", text)

    return _table(
        Markup().join(cell(at, text, "th") for at, text in enumerate(head)),
        [Markup().join(cell(at, text, "td" if at else "th") for at, text in enumerate(row)) for row in rows],
    )


def _table(head: Markup, rows: Iterable[Markup]) -> Markup:
    above = Markup("<thead><tr>{}</tr></thead>").format(head) if head else Markup()
    body = Markup().join(Markup("<tr>{}</tr>").format(row) for row in rows)
    return Markup('<div class="scroll"><table>{}<tbody>{}</tbody></table></div>').format(above, body)


def _small(text: str) -> Markup:
    return Markup("<small>{}</small>").format(text) if text else Markup()
