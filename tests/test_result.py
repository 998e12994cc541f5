"""Results on disk and in print: what is saved comes back, damage is named, families stay apart."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import polars as pl
import pytest

import ppldelta
from ppldelta.family import Signature
from test_saved import without_hashes


def test_what_is_saved_comes_back(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    folder = demo_result.save(tmp_path / "out")
    names = ["documents.parquet", "models.parquet", "pieces.parquet", "report.html", "run.json"]
    names += ["texts.parquet", "tokens.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == names
    again = ppldelta.load(folder)
    for name in ("tokens", "documents", "models", "pieces", "texts"):
        assert getattr(again, name).equals(getattr(demo_result, name))
        assert getattr(again, name).schema == getattr(demo_result, name).schema
    assert again.signature == demo_result.signature
    assert again.families == demo_result.families


def test_the_same_result_gives_the_same_bytes(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    one = demo_result.report(tmp_path / "a.html")
    two = ppldelta.load(demo_result.save(tmp_path / "out")).report(tmp_path / "b.html")
    assert one.read_bytes() == two.read_bytes()


def test_a_folder_of_an_older_version_has_no_texts(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    folder = without_hashes(demo_result.save(tmp_path / "out"))
    (folder / "texts.parquet").unlink()
    again = ppldelta.load(folder)
    assert again.texts.is_empty() and again.texts.schema == demo_result.texts.schema
    assert again.documents.equals(demo_result.documents)


def test_repr_is_a_table_of_models(demo_result: ppldelta.Result) -> None:
    text = repr(demo_result)
    for name in ("tiny-code.Q8_0", "tiny-multilingual.Q8_0", "tiny-ref.Q2_K", "tiny-ref.Q8_0", "gain", "loss"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 160
    assert "<table" in demo_result._repr_html_()


def test_families_of_one_name_say_what_differs(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    html = ppldelta.report([demo_result, demo_result], tmp_path / "two.html").read_text()
    assert "tiny-ref.Q8_0 (2)" in html
    family = demo_result.families[0]
    other = dataclasses.replace(family, signature=Signature.of({**family.signature, "windows": "perplexity"}))
    half = dataclasses.replace(demo_result, families=[other], warnings=["`x` was left out."])
    html = ppldelta.report([demo_result, half], tmp_path / "three.html").read_text()
    assert "tiny-ref.Q8_0 (windows perplexity)" in html and "tiny-ref.Q8_0 (windows every)" in html
    assert "<code>tiny-ref.Q8_0 (windows perplexity)</code>: <code>x</code> was left out." in html
    folders = [demo_result.save(tmp_path / name) for name in ("first", "second")]
    html = ppldelta.report(map(ppldelta.load, folders), tmp_path / "four.html").read_text()
    assert "tiny-ref.Q8_0 (first)" in html and "tiny-ref.Q8_0 (second)" in html


def test_a_path_without_html_is_a_folder(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    page = demo_result.report(tmp_path / "report")
    assert page == tmp_path / "report" / "index.html"
    data = {path.name for path in (tmp_path / "report" / "data").iterdir()}
    assert {"f0.documents.js", "f0.pieces.js", "f0.d0.js", "f0.d35.js"} <= data
    mine = tmp_path / "report" / "data" / "f0.d0.js.js"
    mine.write_text("mine")
    (tmp_path / "report" / "data" / "f9.d9.js").write_text("mine")
    ppldelta.report(demo_result, tmp_path / "report", tokens=0)
    left = {path.name for path in (tmp_path / "report" / "data").iterdir()}
    assert left == {name for name in data if not re.fullmatch(r"f0\.d\d+\.js", name)} | {"f0.d0.js.js", "f9.d9.js"}
    assert demo_result.report(tmp_path / "r.HTM").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(ppldelta.ResultError, match="cannot write"):
        demo_result.report(tmp_path / "file")


def test_the_number_of_token_views_is_checked(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    for wrong in (-1, "many", 2.5):
        with pytest.raises(ppldelta.PpldeltaError, match="token views"):
            demo_result.report(tmp_path / "x.html", tokens=wrong)
    few, every = (demo_result.report(tmp_path / f"{n}.html", tokens=n).stat().st_size for n in (0, "all"))
    assert few < every


def test_a_folder_without_a_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ppldelta.ResultError, match=r"run\.json"):
        ppldelta.load(tmp_path)
    with pytest.raises(ppldelta.ResultError, match="no result is given"):
        ppldelta.report([], tmp_path / "x.html")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", b"{", "damaged"),
        ("run.json", b'{"format": 99}', "format 99"),
        ("run.json", b"[]", "damaged"),
        ("tokens.parquet", b"PAR1 no", "damaged"),
    ],
)
def test_damage_is_named(demo_result: ppldelta.Result, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    folder = without_hashes(demo_result.save(tmp_path / "out"))
    (folder / name).write_bytes(content)
    with pytest.raises(ppldelta.ResultError, match=message):
        ppldelta.load(folder)


def test_columns_are_checked(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    folder = without_hashes(demo_result.save(tmp_path / "out"))
    path = folder / "documents.parquet"
    demo_result.documents.with_columns(more=1).write_parquet(path)
    assert ppldelta.load(folder).documents.equals(demo_result.documents)
    demo_result.documents.drop("gain").write_parquet(path)
    with pytest.raises(ppldelta.ResultError, match="`gain` of Float64, got none"):
        ppldelta.load(folder)
    demo_result.documents.with_columns(pl.col("gain").cast(pl.String)).write_parquet(path)
    with pytest.raises(ppldelta.ResultError, match="`gain` of Float64, got String"):
        ppldelta.load(folder)
    path.unlink()
    with pytest.raises(ppldelta.ResultError, match=r"there is no `documents\.parquet`"):
        ppldelta.load(folder)


def test_a_failed_save_leaves_the_older_result_whole(
    demo_result: ppldelta.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = demo_result.save(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self: pl.DataFrame, path: Path) -> None:
        raise pl.exceptions.ComputeError("No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(ppldelta.ResultError, match="No space left"):
        demo_result.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_report_that_cannot_be_written_is_an_error(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ppldelta.ResultError, match="cannot write"):
        demo_result.report(tmp_path / "file" / "report.html")
    with pytest.raises(ppldelta.ResultError, match="cannot write"):
        demo_result.save(tmp_path / "file")


def test_run_json_says_what_was_compared(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    run = json.loads((demo_result.save(tmp_path / "out") / "run.json").read_text())
    family = run["families"][0]
    assert len(family["ref"]["sha256"]) == 64
    assert [model["label"] for model in family["cmp"]] == demo_result.models["model"].unique(
        maintain_order=True
    ).to_list()
    assert family["ref"]["size_bytes"] > family["cmp"][-1]["size_bytes"]
    assert demo_result.models.filter(pl.col("model") == "tiny-ref.Q2_K")["bits_per_weight"][0] < 5
