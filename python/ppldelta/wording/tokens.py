"""How a token is written where it stands alone: its white space is shown, and what is no text is escaped."""

from __future__ import annotations

_SHOWN = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍", "\N{NO-BREAK SPACE}": "⍽"}


def shown(piece: bytes) -> str:
    """The bytes of a token for people, with the marks that the report's reader has for white space.

    Args:
        piece: any bytes; a token may hold a part of a character, or none at all.
    """
    text = piece.decode("utf-8", "backslashreplace")
    marked = "".join(
        _SHOWN.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode("ascii")) for c in text
    )
    return marked or "(empty)"
