"""A result's folder: one that is no longer what was saved is refused, and `verify` says what differs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import ppldelta
from ppldelta.cli import main

FRAMES = ("tokens", "documents", "models", "pieces", "texts")


def without_hashes(folder: Path) -> Path:
    """The folder as an older version saved it."""
    run = json.loads((folder / "run.json").read_bytes())
    del run["files"], run["sha256"]
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def equal(one: ppldelta.Result, other: ppldelta.Result) -> bool:
    return (
        all(getattr(one, name).equals(getattr(other, name)) for name in FRAMES)
        and one.families == other.families
        and one.warnings == other.warnings
    )


def test_one_flipped_bit_is_refused_or_changes_nothing(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    folder = demo_result.save(tmp_path / "out")
    rng = random.Random(0)
    n_harmless = 0
    files = sorted(folder.iterdir())
    for path in files:
        whole = path.read_bytes()
        for _ in range(12 if path.name != "run.json" else 100):
            at = rng.randrange(len(whole))
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
            differences = ppldelta.verify(folder)
            if differences and path.name != "report.html":
                assert path.name in differences[0]
                with pytest.raises(ppldelta.ResultError, match=rf"{path.name}.*(damaged|not what was saved)"):
                    ppldelta.load(folder)
            else:  # `load` reads no report; in `run.json` white space may be written in two ways
                assert differences or path.name == "run.json"
                assert equal(ppldelta.load(folder), demo_result)
                n_harmless += not differences
        path.write_bytes(whole)
    assert len(files) == 7
    assert n_harmless < 5
    assert ppldelta.verify(folder) == []


def test_the_hash_of_run_json_cannot_be_lost(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    """A bit that renames one of the two keys must not make the folder one of an older version."""
    folder = demo_result.save(tmp_path / "out")
    text = (folder / "run.json").read_text()
    for key in ('  "sha256": "' + json.loads(text)["sha256"], '  "files": {'):
        assert text.count(key) == 1
        (folder / "run.json").write_text(text.replace(key, key.replace('  "', '  "_')))
        with pytest.raises(ppldelta.ResultError, match=r"run\.json` is damaged"):
            ppldelta.load(folder)
        assert len(ppldelta.verify(folder)) == 1


def test_a_folder_of_an_older_version_is_read_but_not_verified(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    folder = without_hashes(demo_result.save(tmp_path / "out"))
    again = ppldelta.load(folder)
    assert equal(again, demo_result)
    [difference] = ppldelta.verify(folder)
    assert "holds no hashes" in difference
    assert ppldelta.verify(again.save(tmp_path / "again")) == []


def test_verify_names_every_difference(
    demo_result: ppldelta.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = demo_result.save(tmp_path / "whole"), demo_result.save(tmp_path / "broken")
    (whole / "notes.txt").write_text("other files do not matter")
    assert main(["verify", str(whole)]) == 0
    assert capsys.readouterr().out == f"{whole}: as it was saved\n"
    (broken / "texts.parquet").unlink()
    (broken / "models.parquet").write_bytes((broken / "models.parquet").read_bytes()[:-1])
    page = (broken / "report.html").read_text()
    (broken / "report.html").write_text(page.replace("gain", "loss"))
    assert main(["verify", str(broken), str(whole), str(tmp_path / "none")]) == 1
    out, err = capsys.readouterr()
    first, second, third = out.splitlines()
    for part in ("`texts.parquet` is missing", "`models.parquet` has ", " bytes instead of ", "`report.html` has "):
        assert part in first
    assert second == f"{whole}: as it was saved"
    assert "`run.json`" not in first and "run.json` cannot be read: No such file" in third
    assert err == "ppldelta: error: 2 of 3 folders are not known to be as saved\n"


def test_a_table_that_is_gone_is_missed(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    """Only a folder without hashes may lack what older versions did not write."""
    folder = demo_result.save(tmp_path / "out")
    (folder / "texts.parquet").unlink()
    with pytest.raises(ppldelta.ResultError, match=r"is not what was saved: `texts\.parquet` is missing"):
        ppldelta.load(folder)


def test_names_in_run_json_lead_nowhere_else(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    from ppldelta.saved.run_file import content_hash

    folder = demo_result.save(tmp_path / "out")
    run = json.loads((folder / "run.json").read_text())
    del run["sha256"]
    run["files"]["../out/report.html"] = run["files"].pop("report.html")
    (folder / "run.json").write_text(json.dumps({**run, "sha256": content_hash(run)}))
    assert "damaged" in ppldelta.verify(folder)[0]
