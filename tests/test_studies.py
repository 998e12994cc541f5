"""Studies: what a file may say, what its paths mean, and that one run gives what separate calls of `score` give."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

import ppldelta
from helpers.adapters import write_lora
from ppldelta import demo
from ppldelta.cli import main
from ppldelta.models.download import Hub, HubModel
from ppldelta.models.hub import HubName
from ppldelta.run.settings import Settings
from ppldelta.studies.description import read
from ppldelta.studies.example import example

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REF, (CODE, MULTILINGUAL, Q2_K) = demo.REFERENCE, demo.COMPARISONS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a study of two families, whose paths are relative to it."""
    (tmp_path / "corpus").mkdir()
    shutil.copy(demo.CORPUS / "prose" / "being_early.txt", tmp_path / "corpus" / "a.txt")
    shutil.copy(demo.CORPUS / "prose" / "mudflats_in_november.txt", tmp_path / "corpus" / "b.txt")
    for path in (REF, CODE, MULTILINGUAL, Q2_K):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "study.toml").write_text(
        f"""
        corpus = "corpus"
        output = "out"
        store = "here.sqlite"
        [settings]
        n_ctx = 128
        windows = "every"
        [[families]]
        ref = "{REF.name}"
        cmp = ["{CODE.name}", "{Q2_K.name}"]
        [[families]]
        name = "finetune"
        ref = "{MULTILINGUAL.name}"
        cmp = {{ other = "{CODE.name}" }}
        """
    )
    return tmp_path


def test_a_study_is_what_its_families_are_alone(folder: Path) -> None:
    result = ppldelta.study(folder / "study.toml", progress=False)
    settings = {"n_ctx": 128, "windows": "every", "store": None, "progress": False}
    alone = [
        ppldelta.score(folder / "corpus", REF, [CODE, Q2_K], **settings),
        ppldelta.score(folder / "corpus", MULTILINGUAL, {"other": CODE}, **settings),
    ]
    assert [family.name for family in result.families] == [REF.stem, "finetune"]
    assert [family.models for family in result.families] == [[CODE.stem, Q2_K.stem], ["other"]]
    for family, expected in zip(result.families, alone, strict=True):
        columns = ["model", "document", "pos", "logp_ref", "logp_cmp"]
        mine = result.tokens.filter(result.tokens["family"].cast(str) == family.name).select(columns)
        assert_frame_equal(mine, expected.tokens.select(columns))
    assert (folder / "here.sqlite").exists()
    saved = ppldelta.load(folder / "out")
    assert_frame_equal(saved.models, result.models)
    assert ppldelta.verify(folder / "out") == []


def test_a_study_goes_on_where_the_store_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)  # its paths are relative to the file
    study = folder / "study.toml"
    whole = study.read_text()
    study.write_text(whole[: whole.index("[[families]]\n        name")])
    ppldelta.study(study, progress=False)
    study.write_text(whole)
    times = [each.time_s for family in ppldelta.study(study, progress=False).families for each in family.cmp]
    assert times == [0, 0, 0], "the finetune's comparison is in the store as one of the first family"
    times = [family.ref.time_s for family in ppldelta.study(study, progress=False).families]
    assert times == [0, 0]


def test_a_mapping_is_a_study_as_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    described = read(tomllib.loads((folder / "study.toml").read_text()))
    assert described == read(Path("study.toml"))
    assert (described.corpus, described.output, described.store) == ("corpus", Path("out"), "here.sqlite")


def test_loras_lie_beside_the_study_and_names_on_the_hub_stay_as_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(hub: Hub, name: HubName) -> HubModel:
        raise ppldelta.ModelError(f"asked for {name}")

    monkeypatch.setattr(Hub, "find", asked)
    write_lora(folder / "lora.gguf", seed=1)
    study = folder / "study.toml"
    text = study.read_text()
    study.write_text(text.replace(f'["{CODE.name}"', f'["{CODE.name}+lora.gguf:0.5"'))
    [adapter] = read(study).families[0].cmp[0].source.adapters
    assert (adapter.path, adapter.scale) == (folder / "lora.gguf", 0.5)
    study.write_text(text.replace(f'["{CODE.name}"', '["owner/repo:Q8_0+lora.gguf"'))
    with pytest.raises(ppldelta.ModelError, match="asked for owner/repo:Q8_0"):
        read(study)
    (folder / "owner").mkdir()
    shutil.copy(CODE, folder / "owner" / "repo")
    study.write_text(text.replace(f'["{CODE.name}"', '["owner/repo"'))
    assert read(study).families[0].cmp[0].path == folder / "owner" / "repo", "a file wins"


def test_a_family_that_fails_is_left_out_and_the_others_are_kept(folder: Path) -> None:
    (folder / "cut.gguf").write_bytes(REF.read_bytes()[:4096])
    with (folder / "study.toml").open("a") as file:
        file.write(f'[[families]]\nref = "cut.gguf"\ncmp = "{CODE.name}"\n')
    used = subprocess.run(
        [sys.executable, "-m", "ppldelta.cli", "study", folder / "study.toml", "-o", folder / "o"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert used.returncode == 1
    assert "warning: the family of `cut` is left out: " in used.stderr
    assert used.stderr.endswith("ppldelta: error: 1 family (`cut`) is left out; the warnings above say why\n")
    assert "family 3 of 3: `cut`" in used.stderr
    saved = ppldelta.load(folder / "o")
    assert saved.left_out == {"family": ["cut"]}
    assert len(saved.families) == 2
    assert not (folder / "out").exists(), "`-o` was given"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[[families]]", "[[familys]]", r"says `familys`, which no study has\nhint: did you mean `families`\?"),
        ("n_ctx", "nctx", r"says `settings\.nctx`.*\nhint: did you mean `settings\.n_ctx`\?"),
        ("ref = ", "reference = ", r"says `families\[0\]\.reference`, which no study has"),
        ('corpus = "corpus"', "", "lacks `corpus`"),
        ('corpus = "corpus"', "corpus = 3", "`corpus` must be a folder, a glob, or a list of paths, got 3"),
        ('store = "here.sqlite"', "store = 3", "`store` must be a path, true or false, got 3"),
        ('output = "out"', "output = []", r"`output` must be a path, got \[\]"),
        ("n_ctx = 128", "n_ctx = 2", "n_ctx"),
        ("n_ctx = 128", "n_ctx = '128'", "`n_ctx` must be a whole number"),
        (f'ref = "{REF.name}"', "ref = 1", r"`families\[0\]\.ref` must be a GGUF file, got 1"),
        (f'["{CODE.name}", "{Q2_K.name}"]', "[1]", r"`families\[0\]\.cmp` must be a GGUF file, a list of them"),
        (f'["{CODE.name}", "{Q2_K.name}"]', "[]", "no comparison model is given"),
        (CODE.name, "none.gguf", "no model file .*none.gguf"),
        ("corpus =", "corpus", "is no TOML file: "),
    ],
)
def test_what_no_study_says_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    text = (folder / "study.toml").read_text()
    assert old in text
    (folder / "study.toml").write_text(text.replace(old, new))
    with pytest.raises(ppldelta.PpldeltaError, match=said):
        ppldelta.study(folder / "study.toml", progress=False)
    assert not (folder / "out").exists()


def test_what_is_no_study_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ppldelta.StudyError, match=r"cannot read .*No such file.*\nhint: `ppldelta init`"):
        ppldelta.study(tmp_path / "none.toml")
    with pytest.raises(ppldelta.StudyError, match="must be the path of a TOML file or a mapping, got 3"):
        ppldelta.study(3)  # type: ignore[arg-type]
    (tmp_path / "latin.toml").write_bytes(b"corpus = 'caf\xe9'")
    with pytest.raises(ppldelta.StudyError, match="is no TOML file"):
        ppldelta.study(tmp_path / "latin.toml")
    with pytest.raises(ppldelta.StudyError, match=r"`families` must be a list of tables"):
        ppldelta.study({"corpus": "x", "families": []})


def test_a_dry_run_shows_each_family_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(folder / "study.toml"), "--dry-run", "-q"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("(reference)") == 2
    assert "finetune (reference)" in shown
    assert not (folder / "out").exists()


def test_a_study_without_an_output_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = folder / "study.toml"
    study.write_text(study.read_text().replace('output = "out"', ""))
    assert main(["study", str(study)]) == 1
    assert "names no `output`\nhint: write one into it, or give `-o OUT`" in capsys.readouterr().err


def test_the_example_is_a_study_once_its_files_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert main(["init"]) == 1, "it is there already"
    text = Path("study.toml").read_text()
    assert text == example("study.toml")
    for each in fields(Settings):
        assert f"# {each.name} = " in text
    words = tomllib.loads(
        text.replace("# name", "name").replace("# [[", "[[").replace("# ref", "ref").replace("# cmp", "cmp")
    )
    Path("models").mkdir()
    for family in words["families"]:
        models = family["cmp"].values() if isinstance(family["cmp"], dict) else family["cmp"]
        for model in (family["ref"], *models):
            shutil.copy(CODE, model)
    described = read(words)
    assert [family.ref.label for family in described.families] == ["base.Q8_0", "the other family"]
    assert [each.label for each in described.families[1].cmp] == ["careful", "bold"]
    assert described.settings == Settings()
