"""What a job knows before anything is evaluated, and what it does not load."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

import ppldelta
from conftest import close_idle, n_kept
from ppldelta import demo
from ppldelta.console.progress import Meter
from ppldelta.engine import native, worker
from ppldelta.engine.loaded import Weights
from ppldelta.engine.native import Model
from ppldelta.engine.session import Session
from ppldelta.models import identity
from ppldelta.run import job, tokenization
from ppldelta.run.request import Request
from ppldelta.run.settings import Settings
from ppldelta.store.store import Store

GOOD, OTHER = demo.COMPARISONS[:2]
TEXT = (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()
MORE = (demo.CORPUS / "code" / "token_bucket.py").read_text()


def headline(texts: dict[str, str], *cmp: Path, store: bool | None = True) -> str:
    request = Request.of(demo.REFERENCE, list(cmp), Settings(threads=2))
    with Session() as session, job.opened(request, session, texts, store=store, progress=False) as work:
        return work.headline


def test_the_headline_says_what_is_left_to_do() -> None:
    n_tokens = len(Model(demo.REFERENCE).tokenize(TEXT.encode()))
    one, two = {"a": TEXT}, {"a": TEXT, "b": MORE}
    length = f"{len(TEXT.encode()) / n_tokens:.2f}\N{NO-BREAK SPACE}bytes per token"
    assert headline(one, GOOD) == f"1 document, {n_tokens} tokens ({length}), 1 window; 2 of 2 models to evaluate"
    ppldelta.score(one, demo.REFERENCE, GOOD, progress=False)
    assert headline(one, GOOD).endswith("; every model is in the store, nothing is left to evaluate")
    assert headline(one, GOOD, OTHER).endswith("; 1 of 3 models to evaluate, 2 in the store")
    assert headline(two, GOOD, OTHER).endswith("; 3 of 3 models to evaluate, 2 of them partly in the store")
    assert headline(one, GOOD, store=None).endswith("; 2 of 2 models to evaluate")


def test_the_headline_is_shown_with_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD)
    said = capsys.readouterr().err
    assert said.startswith("1 document, ")
    assert said.count(" tokens/s\n") == 2, "a line for each model"
    ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD)
    assert "tokens/s" not in capsys.readouterr().err, "nothing is evaluated, the headline says it"
    ppldelta.score({"a": TEXT, "b": MORE}, demo.REFERENCE, GOOD)
    assert "1 of 2 windows from the store" in capsys.readouterr().err


def test_tokenizing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """All bytes for each model whose tokens are looked at, at once what is done, and that time passes within a text."""
    shown: list[tuple[int, list[int]]] = []

    class Shown(Meter):
        def update(self, n: int) -> None:
            shown[-1][1].append(n)

    def noted(what: str, total: int, unit: str, **more: object) -> AbstractContextManager[Meter]:
        if what != "tokenizing":
            return nullcontext(Meter())
        shown.append((total, []))
        return nullcontext(Shown())

    monkeypatch.setattr(tokenization, "meter", noted)
    texts = {"a": TEXT * 1000, **{f"b{i}": TEXT * 100 for i in range(20)}}
    n_bytes = sum(len(text.encode()) for text in texts.values())
    headline(texts, GOOD, OTHER)
    assert len(shown) == 3
    for total, updates in shown:
        assert total == n_bytes == sum(updates)
        assert sum(n > 0 for n in updates) > 3
        assert 0 in updates


def test_a_build_for_gpus_that_finds_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(native.build(), gpu=False)
    run = {"files": {"a": TEXT}, "ref": demo.REFERENCE, "cmp": GOOD, "progress": False, "store": None}

    def warnings(build: native.Build, **more: object) -> list[str]:
        monkeypatch.setattr(native, "build", lambda: build)
        with ThreadPoolExecutor(1) as executor:  # in this process
            return ppldelta.score(**run, executor=executor, **more).warnings

    assert native.build().idle == ()
    assert warnings(here) == []
    (warning,) = warnings(replace(here, idle=("CUDA",)))
    assert warning.startswith("This build is for CUDA, but finds no device, and evaluates on the CPU.")
    assert warnings(replace(here, idle=("CUDA",)), n_gpu_layers=0) == []
    (warning,) = warnings(replace(here, idle=("CUDA",), idle_because="failed to initialize CUDA: no device"))
    assert "finds no device (failed to initialize CUDA: no device), and" in warning


Loads = list[tuple[str, Weights]]
"""The label of each model, and whether its weights were asked for."""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """What a worker is asked to load from here on."""
    asked: Loads = []
    call = Session.call

    def spied(session: Session, task: object, *arguments: object, label: str, doing: str) -> object:
        if task is worker.describe:
            asked.append((label, arguments[1]))
        return call(session, task, *arguments, label=label, doing=doing)

    monkeypatch.setattr(Session, "call", spied)
    monkeypatch.setattr(identity, "_SETTLED_NS", -1)  # the demo's files may be new on this machine
    return asked


def n_loaded() -> int:
    """How many models the waiting worker has with their weights; there is room for all of the demo's."""
    with Session() as session:
        return session.call(n_kept, label="", doing="")


def test_what_is_in_the_store_needs_no_weights(loads: Loads, fresh: None) -> None:
    """Of models in the store only the reference's vocabulary is loaded, and `run.json` says the same of them."""
    first = ppldelta.score({"a": TEXT}, demo.REFERENCE, [GOOD, OTHER], progress=False)
    assert n_loaded() == 3
    close_idle()
    loads.clear()
    again = ppldelta.score({"a": TEXT}, demo.REFERENCE, [GOOD, OTHER], progress=False)
    assert loads == [("tiny-ref.Q8_0", Weights.NOT_NEEDED)]
    assert n_loaded() == 0
    assert again.tokens.equals(first.tokens)
    assert again.models.equals(first.models), "with sizes and parameters"
    for now, before in zip(
        [again.families[0].ref, *again.families[0].cmp], [first.families[0].ref, *first.families[0].cmp],
        strict=True,
    ):  # fmt: skip
        assert now == replace(before, time_s=0)


def test_a_new_document_loads_what_it_needs(loads: Loads) -> None:
    ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, progress=False)
    loads.clear()
    ppldelta.score({"a": TEXT, "b": MORE}, demo.REFERENCE, GOOD, progress=False)
    assert loads == [
        ("tiny-ref.Q8_0", Weights.NOT_NEEDED),
        ("tiny-code.Q8_0", Weights.WHERE_THEY_FIT),
        ("tiny-ref.Q8_0", Weights.NEEDED),
        ("tiny-code.Q8_0", Weights.NEEDED),
    ]


@pytest.mark.parametrize("before", [" the", " and"], ids=["the same text", "the same tokens"])
def test_other_tokens_are_refused_whatever_is_in_the_store(loads: Loads, tmp_path: Path, before: str) -> None:
    """A comparison that is in the store as a reference of its own is not taken for checked."""
    a, b = "Ġthe".encode(), "Ġand".encode()
    data = demo.REFERENCE.read_bytes().replace(b"\0" + a, b"\0____").replace(b"\0" + b, b"\0" + a)
    swapped = tmp_path / "swapped.gguf"
    swapped.write_bytes(data.replace(b"\0____", b"\0" + b))
    texts = {"a": "and" + " the" * 30}
    ppldelta.score({"a": "and" + before * 30}, swapped, swapped, progress=False)
    ppldelta.score(texts, demo.REFERENCE, GOOD, progress=False)
    with pytest.raises(ppldelta.TokenizerMismatchError, match="swapped"):
        ppldelta.score(texts, demo.REFERENCE, swapped, progress=False)


def test_without_descriptions_models_are_loaded(loads: Loads, tmp_path: Path) -> None:
    """Where another release described them; its rows are used, and what models say is asked again and kept."""
    path = tmp_path / "s.sqlite"
    first = ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, store=path, progress=False)
    with Store(path) as store:
        store.database.connection.execute("DELETE FROM models")
    for expected in (True, False):
        loads.clear()
        again = ppldelta.score({"a": TEXT}, demo.REFERENCE, GOOD, store=path, progress=False)
        assert again.tokens.equals(first.tokens)
        assert again.families[0].ref.time_s == 0
        assert again.families[0].ref.n_params == first.families[0].ref.n_params
        assert any(weights is Weights.NEEDED for _, weights in loads) == expected


def test_the_log_of_a_job_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        headline({"a": TEXT}, GOOD)
    assert caplog.records == []


def test_one_model_under_two_names_is_said(tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(GOOD.read_bytes())
    result = ppldelta.score({"a": TEXT}, demo.REFERENCE, [GOOD, OTHER, copy], progress=False)
    [warning] = result.warnings
    assert warning.startswith("`copy` has the same content as `tiny-code.Q8_0`")
    assert ppldelta.score({"a": TEXT}, demo.REFERENCE, [GOOD, OTHER], progress=False).warnings == []
