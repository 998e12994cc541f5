"""The window rules in words: one sentence, which help, errors, terminal, report and docs share."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import ppldelta
from ppldelta import demo
from ppldelta.commands.arguments import parser
from ppldelta.family import Signature
from ppldelta.wording.rules import DEFAULT_RULE, DIFFERENCE, RULES, notes

ROOT = Path(__file__).parents[1]


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("page", ["README.md", "docs/design.md", "docs/settings.md", "python/ppldelta/run/scoring.py"])
def test_docs_say_it_as_the_code_does(page: str) -> None:
    assert DIFFERENCE in one_line((ROOT / page).read_text(encoding="utf-8"))


def test_help_and_errors_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["score", "--help"])
    assert f"{DIFFERENCE} (default: {DEFAULT_RULE})" in re.sub(r"llama- +", "llama-", one_line(capsys.readouterr().out))
    with pytest.raises(ppldelta.PpldeltaError) as caught:
        ppldelta.score({"a": "b"}, "no.gguf", "no.gguf", windows="strided")
    assert caught.value.hint == f"the default is `{DEFAULT_RULE}`: {DIFFERENCE}"


def test_the_sentence_names_the_rule() -> None:
    assert notes([]) == notes([("a", None)]) == []
    for rule in RULES:
        assert notes([("a", rule)]) == [f"These numbers follow the window rule `{rule}`: {DIFFERENCE}."]
    assert notes([("a", "every"), ("b", "every")]) == notes([("a", "every")])
    assert notes([("a", "every"), ("b", "perplexity"), ("c", "every"), ("d", None)]) == [
        f"`a` and `c` follow the window rule `every`, `b` follows the window rule `perplexity`: {DIFFERENCE}."
    ]


def test_terminal_and_report_say_it(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    sentence = notes([("a", DEFAULT_RULE)])[0]
    assert sentence in one_line(repr(demo_result))
    assert sentence.replace("`", "") in on_page(demo_result, tmp_path)
    family = dataclasses.replace(
        demo_result.families[0], signature=Signature.of({**demo_result.families[0].signature, "windows": "perplexity"})
    )
    half = dataclasses.replace(demo_result, families=[family])
    assert "follow the window rule `perplexity`" in one_line(repr(half))
    assert "follow the window rule perplexity" in on_page(half, tmp_path)


def on_page(result: ppldelta.Result, folder: Path) -> str:
    """The report's text, without its tags."""
    html = result.report(folder / "report.html").read_text(encoding="utf-8")
    return one_line(re.sub(r"<[^>]*>", "", html[html.index("<footer") : html.index("</footer>")]))


def test_the_default_is_that_rule() -> None:
    text = {"a": (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()}
    run = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[0], "n_ctx": 128, "store": None, "progress": False}
    result = ppldelta.score(text, **run)
    assert result.families[0].signature["windows"] == DEFAULT_RULE == "every"
    assert result.tokens.equals(ppldelta.score(text, **run, windows="every").tokens)
    assert result.documents["n_scored"][0] == result.documents["n_tokens"][0], "nothing is dropped"
