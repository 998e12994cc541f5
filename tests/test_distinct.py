"""What tells families of one name apart."""

from __future__ import annotations

from typing import Any

import pytest

from helpers import facts
from ppldelta.family import Family, Signature
from ppldelta.reporting.distinct import distinct_names

PARTS = {"ppldelta": "1", "windows": "perplexity", "n_ctx": "512", "max_windows": "all", "n_ubatch": "128"}


def family(name: str = "ref", **more: Any) -> Family:
    ref = facts.model("ref", path="/m/ref.gguf", sha256="0")
    return facts.family(name, **{"ref": ref, "signature": Signature.of(PARTS), **more})


def signature(**parts: str) -> dict[str, Signature]:
    return {"signature": Signature.of({**PARTS, **parts})}


def line(text: str) -> dict[str, Signature]:
    """As an older version saved it."""
    return {"signature": Signature(line=text)}


@pytest.mark.parametrize(
    ("families", "folders", "names"),
    [
        ([family("a"), family("b")], [None, None], ["a", "b"]),
        ([family(), family(**signature(n_ctx="1024"))], ["x", "y"], ["ref (n_ctx 512)", "ref (n_ctx 1024)"]),
        ([family(), family("b"), family()], ["x/1", "y/1", "z/1"], ["ref (x/1)", "b", "ref (z/1)"]),
        ([family(corpus="/c/json"), family(corpus="/c/email")], ["x", "y"], ["ref (json)", "ref (email)"]),
        ([family(corpus="/a/json"), family(corpus="/b/json/")], ["x", "y"], ["ref (a/json)", "ref (b/json)"]),
        ([family(corpus="/c/json"), family()], ["/o/x", "/o/y"], ["ref (x)", "ref (y)"]),
        (
            [family(corpus="/c/json"), family(corpus="/c/json", **signature(windows="every"))],
            [None, None],
            ["ref (windows perplexity)", "ref (windows every)"],
        ),
        (
            [family(corpus="/c/json", **signature(max_windows="4")), family(corpus="/c/email")],
            [None, None],
            ["ref (json, max_windows 4)", "ref (email, max_windows all)"],
        ),
        (
            [family(), family(**signature(n_ctx="64")), family(**signature(n_ctx="64"))],
            [None, "x", "y"],
            ["ref (n_ctx 512)", "ref (n_ctx 64)", "ref (n_ctx 64) (2)"],
        ),
        ([family(), family(**signature(n_ubatch="64"))], [None] * 2, ["ref (n_ubatch 128)", "ref (n_ubatch 64)"]),
        (
            [family(**signature(kernels=f"CPU[{features}]")) for features in ("AMX,FMA", "FMA", "AVX2,FMA")],
            [None] * 3,
            ["ref (kernels AMX)", "ref (kernels without AMX AVX2)", "ref (kernels AVX2)"],
        ),
        (
            [family(cmp=[facts.model("m")]), family(cmp=[facts.model("n"), facts.model("o")])],
            [None, None],
            ["ref (m)", "ref (n and 1 more)"],
        ),
        (
            [family(), family(ref=facts.model("ref", path="/other/ref.gguf", sha256="1"))],
            [None, None],
            ["ref (m)", "ref (other)"],
        ),
        ([family(), family(), family("ref (2)")], [None] * 3, ["ref", "ref (2)", "ref (2) (2)"]),
        ([facts.family("bare"), facts.family("bare")], [None, None], ["bare", "bare (2)"]),
        ([family(**line("n_ctx:1|a:2")), family(**line("n_ctx:2|a:2"))], ["x", "y"], ["ref (x)", "ref (y)"]),
        ([family(), family(**line("n_ctx:1"))], [None, None], ["ref", "ref (2)"]),
        ([], [], []),
    ],
)
def test_names(families: list[Family], folders: list[str | None], names: list[str]) -> None:
    assert distinct_names(families, folders) == names
