"""Characters that cannot be seen, as symbols."""

from __future__ import annotations

import pytest

from ppldelta.wording.invisible import SYMBOLS, replaced, shown


def test_controls_are_symbols_with_names() -> None:
    assert shown("a\u202eb\u2066c\u200b\x00\x85") == "a⟦RLO⟧b⟦LRI⟧c⟦ZWSP⟧␀⟦U+0085⟧"
    assert SYMBOLS["\u202e"][1] == "right-to-left override (U+202E)"
    for c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c":
        assert shown(f"x{c}y") == f"x{SYMBOLS[c][0]}y" and "⟦" in SYMBOLS[c][0]


@pytest.mark.parametrize("text", ["שלום עולם", "مرحبا", "می\u200cخواهم", "👩\u200d💻", "❤\ufe0f", "a\tb\r\nc\u00a0d"])
def test_what_belongs_to_a_script_stays(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize("text", ["a\u200db", "\u200d", "❤\ufe0f\ufe0f", "\ufe0f", "a\U000e0041"])
def test_what_hides_is_shown(text: str) -> None:
    assert "⟦" in shown(text)


def test_names_stay_different() -> None:
    assert replaced(["plain", "a\u202e", "a⟦RLO⟧"]) == {"a\u202e": "a⟦RLO⟧′"}
