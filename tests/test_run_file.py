"""`run.json`, edited in every way that one can think of: the result is loaded and drawn, or one error says why not."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import ppldelta
from ppldelta import demo
from ppldelta.family import ModelFacts, Noise
from ppldelta.saved.run_file import content_hash

VALUES: list[Any] = [
    None, True, 0, -1, 2**63 - 1, 2**63, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), "", "<b>&\x00",
    "\ud800", [], [0], ["x"], [None], [["x"]], {}, {"x": 0}, {"x": "x"}, {"x": {"x": []}},
]  # fmt: skip
MAY_BE_TEXT = {"hub", "hub_commit", "kind", "kind_reason"}
"""Null in a run without names on the hub, and of a reference."""
MAY_BE_MISSING = {
    *(
        "kernels",
        "causal",
        "corpus",
        "n_fed",
        "date",
        "left_out",
        "noise",
        "adapters",
        "bytes_per_token",
        "align",
        "n_bytes",
        "only_prompts",
    ),
    *MAY_BE_TEXT,
}
MAY_BE_NULL = {
    *(each.name for each in dataclasses.fields(ModelFacts) if "None" in str(each.type)), "corpus", "n_fed", "files",
    "date", "n_bytes",
    "kld",
}  # fmt: skip

Place = tuple[str | int, ...]
FAMILY: Place = ("families", 0)
REF: Place = ("families", 0, "ref")
MOST = 2**63 - 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of one family, two models and two short documents."""
    texts = {"a.txt": "def area(r):\n    return 3.14 * r * r\n", "b.txt": "It was a bright cold day in April."}
    result = ppldelta.score(texts, demo.REFERENCE, demo.COMPARISONS[:2], store=None, threads=1, progress=False)
    noise = (Noise("n_ubatch 64", 0.02, 0.01, 0.001, 0.5, 100, 400),)
    families = [dataclasses.replace(result.families[0], corpus="/texts", noise=noise)]
    result = dataclasses.replace(result, families=families, warnings=["`x` is odd."], left_out={"document": ["c.txt"]})
    return result.save(tmp_path_factory.mktemp("saved") / "out")


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """The path to everything in a JSON document; of several models the first is enough."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in below:
        if (*at, key) != ("families", 0, "cmp", 1):
            yield (*at, key)
            yield from places(each, (*at, key))


def edits(run: Any) -> Iterator[tuple[Place, str, Any, Any]]:
    """Place, kind of edit, the value that came in, and the whole document."""
    for place in places(run):
        *above, last = place
        for value in VALUES:
            yield place, "changed", value, changed(run, place, value)
        edited = copy.deepcopy(run)
        del inside(edited, above)[last]
        yield place, "deleted", None, edited
        edited = copy.deepcopy(run)
        parent = inside(edited, above)
        if isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
            yield place, "doubled", None, edited
        else:
            parent[f"{last}_"] = parent.pop(last)
            yield place, "renamed", None, edited


def inside(run: Any, place: Sequence[str | int]) -> Any:
    for key in place:
        run = run[key]
    return run


def changed(run: Any, place: Place, value: Any) -> Any:
    edited = copy.deepcopy(run)
    inside(edited, place[:-1])[place[-1]] = value
    return edited


def put(folder: Path, run: dict[str, Any], *, hashes: bool) -> None:
    """Writes an edited `run.json`: with a hash that fits, or with none, as an older version would."""
    run = {name: value for name, value in run.items() if name != "sha256" and (hashes or name != "files")}
    text = json.dumps({**run, "sha256": content_hash(run)} if hashes else run)
    (folder / "run.json").write_text(text)


def kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def may_load(run: Any, place: Place, what: str, value: Any) -> bool:
    """Whether an edit may give a result: it leaves every field of its type, and takes away none that all have."""
    free = {"signature", "left_out", "warnings", "devices", "kernels", "adapters"} & {key for key in place[:-1]}
    if what != "changed":
        return bool(free) or place[-2:-1] == ("noise",) or (what == "deleted" and place[-1] in MAY_BE_MISSING)
    if kind(value) == kind(inside(run, place)):
        return True
    if place[-1] in MAY_BE_TEXT and kind(value) == "str":
        return True
    return (value is None and place[-1] in MAY_BE_NULL) or (place[-1] == "signature" and kind(value) in ("str", "dict"))


def test_an_edited_file_is_read_or_refused_with_one_error(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(saved, folder)
    run = json.loads((saved / "run.json").read_text())
    del run["sha256"]
    n_refused, loaded = 0, []
    for i, (place, what, value, edited) in enumerate(edits(run)):
        put(folder, edited, hashes=place[0] == "files" or i % 2 == 0)
        try:
            result = ppldelta.load(folder)
        except ppldelta.ResultError as error:
            n_refused += 1
            assert str(folder) in error.message, (place, what, value)
            assert "run.json" in error.message or place[0] in ("format", "files"), (place, what, value)
            assert error.hint and len(error.message) < 600
        else:
            assert may_load(run, place, what, value), (place, what, value)
            assert repr(result) and isinstance(result.signature, str)
            if what == "changed" and value != inside(run, place):
                loaded.append((place, value))
    assert n_refused > 1000 and len(loaded) > 100

    for value in (None, 0, 2**63 - 1, 1e308, "", "<b>&\x00"):  # drawn are all edits of one value together
        edited = run
        for place in reversed([place for place, each in loaded if each == value and type(each) is type(value)]):
            edited = changed(edited, place, value)
        assert edited != run
        put(folder, edited, hashes=True)
        assert ppldelta.load(folder).report(tmp_path / "report.html", tokens=0).is_file(), value


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("format",), 2, "was written in format 2; this version reads up to 1"),
        (("format",), True, "`format` must be a whole number from 1 to 1, got true"),
        (("families",), [], "`families` must hold at least one family, got []"),
        ((*FAMILY, "cmp"), [], "`families[0].cmp` must hold at least one model, got []"),
        ((*FAMILY, "cmp", 1, "label"), "tiny-code.Q8_0", "each `label` in `families[0].cmp` must be another"),
        ((*FAMILY, "cmp", 1, "label"), "y", "`run.json` names the model `y` in the family `tiny-ref.Q8_0`, `docu"),
        ((*FAMILY, "family"), "y", "do not belong together"),
        ((*REF, "n_params"), "3", f'ref.n_params` must be a whole number from 0 to {MOST} or null, got "3"'),
        ((*REF, "n_params"), True, "or null, got true"),
        ((*REF, "add_bos"), 1, "`families[0].ref.add_bos` must be true or false or null, got 1"),
        ((*REF, "time_s"), -1, "ref.time_s` must be a finite number that is not negative or null, got -1"),
        ((*REF, "time_s"), float("nan"), "holds NaN, which is no number of JSON"),
        ((*REF, "kernels"), "CPU", '`families[0].ref.kernels` must be a list, got "CPU"'),
        ((*REF, "color"), "red", "this version knows no field `families[0].ref.color`"),
        ((*FAMILY, "devices", 0), 1, "`families[0].devices[0]` must be a text, got 1"),
        ((*FAMILY, "noise", 0, "gain"), -0.1, "`families[0].noise[0].gain` must be a finite number that is not negat"),
        ((*FAMILY, "noise", 0, "kld"), "0", "number that is not negative or null, got"),
        ((*FAMILY, "signature", "n_ctx"), 5, '`families[0].signature["n_ctx"]` must be a text, got 5'),
        (("left_out", "document"), "c.txt", '`left_out["document"]` must be a list, got "c.txt"'),
        (("files", "tokens.parquet", "size_bytes"), None, '`files["tokens.parquet"].size_bytes` must be a'),
        (("files", "../x"), {"sha256": "", "size_bytes": 0}, "`files` must name a result's files, got `../x`"),
        (("files",), None, "`files` is missing"),
        (("files",), {}, "`files` must name `tokens.parquet`"),
    ],
)  # fmt: skip
def test_the_error_says_where_what_was_wanted_and_what_came(
    saved: Path, tmp_path: Path, place: Place, value: Any, message: str
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(saved, folder)
    put(folder, changed(json.loads((saved / "run.json").read_text()), place, value), hashes=True)
    with pytest.raises(ppldelta.ResultError) as error:
        ppldelta.load(folder)
    assert message in error.value.message and str(folder) in error.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "it is no JSON in line 1, column 1"),
        (b'{\n"format": 1', "it is no JSON in line 2, column 12"),
        (b'{"format": 1} {}', "it is no JSON"),
        (b"3", "it must be an object, got 3"),
        (b'{"format": 1, "families": [], "format": 1}', 'it says `"format"` twice in one object'),
        (b'{"format": "\xff"}', "it is not UTF-8"),
        (b'{"format": ' + b"9" * 5000 + b"}", "holds a number that is too long"),
        (b"[" * 100_000, "lists in lists without end"),
        (b'{"format": 1}', "`ppldelta` is missing"),
        (b"{}", "`format` is missing"),
    ],
)
def test_what_is_no_result_is_refused(saved: Path, tmp_path: Path, text: bytes, message: str) -> None:
    shutil.copytree(saved, tmp_path / "out")
    (tmp_path / "out" / "run.json").write_bytes(text)
    with pytest.raises(ppldelta.ResultError, match=r"run\.json` is damaged") as error:
        ppldelta.load(tmp_path / "out")
    assert message in error.value.message
    assert ppldelta.verify(tmp_path / "out") == [error.value.message]


def test_a_file_of_an_older_version_is_read_and_saved_again(saved: Path, tmp_path: Path) -> None:
    """The signature was a line; what it did not say is not known."""
    new = ppldelta.load(saved)
    run = json.loads((saved / "run.json").read_text())
    (family,) = run["families"]
    family["signature"] = new.signature
    for model in (family["ref"], *family["cmp"]):
        del model["kernels"], model["causal"]
        model |= {"vocab_hash": "0", "has_encoder": False}
    del run["left_out"], family["corpus"], family["n_fed"]
    shutil.copytree(saved, tmp_path / "out")
    put(tmp_path / "out", run, hashes=False)
    old = ppldelta.load(tmp_path / "out")
    assert old.signature == new.signature and old.left_out == {}
    assert dict(old.families[0].signature) == {}
    assert dataclasses.replace(new.families[0].ref, kernels=(), causal=None) == old.families[0].ref
    again = ppldelta.load(old.save(tmp_path / "again", tokens=0))
    assert again.families == old.families and again.signature == new.signature


def test_what_is_written_is_what_is_read(saved: Path) -> None:
    """The signature stands there by name, in its order, and its line is the one that people see."""
    result = ppldelta.load(saved)
    run = json.loads((saved / "run.json").read_text())
    signature = run["families"][0]["signature"]
    assert list(signature.items()) == list(result.families[0].signature.parts)
    assert result.signature == "|".join(f"{name}:{value}" for name, value in signature.items())
    assert {"ppldelta", "llama.cpp", "windows", "n_ctx", "kernels"} <= set(signature)
    assert [each.name for each in dataclasses.fields(ModelFacts)] == list(run["families"][0]["ref"])
