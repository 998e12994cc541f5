"""Names on the hub and the files that they mean; llama.cpp's own `-hf` is the yardstick."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from conftest import LLAMA_PERPLEXITY
from helpers.hub import standing_in
from ppldelta.errors import ModelError
from ppldelta.models.hub import HubName, choose, parse
from ppldelta.models.hub_cache import CachedRepo, cache_folder, is_offline

SPLIT = [f"BF16/big-BF16-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
QUANTS = ["README.md", "m.Q2_K.gguf", "m.Q4_K_M.gguf", "m.Q8_0.gguf", "m.mmproj-Q8_0.gguf", "m.imatrix.gguf"]
COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mradermacher/Qwen3.5-4B-GGUF:Q8_0", HubName("mradermacher/Qwen3.5-4B-GGUF", "Q8_0")),
        ("owner/repo", HubName("owner/repo")),
        ("owner/repo:folder/file.gguf", HubName("owner/repo", "folder/file.gguf")),
        ("owner/repo@v1:Q8_0", HubName("owner/repo", "Q8_0", "v1")),
        ("owner/repo:Q8_0@refs/pr/1", HubName("owner/repo", "Q8_0", "refs/pr/1")),
        ("owner/repo@v1", HubName("owner/repo", None, "v1")),
        ("owner/model.gguf:Q8_0", HubName("owner/model.gguf", "Q8_0")),
        ("owner/model.gguf", None),
        ("model.gguf", None),
        ("a/b/c", None),
        ("./owner/repo", None),
        ("/owner/repo", None),
        ("~/repo", None),
        ("../repo", None),
        ("owner/re po", None),
        ("owner/repo:", None),
        ("a--b/c", None),
        ("https://huggingface.co/owner/repo", None),
    ],
)
def test_what_is_a_name_on_the_hub(text: str, name: HubName | None) -> None:
    assert parse(text) == name
    if name:
        assert parse(str(name)) == name


def test_a_name_has_one_revision() -> None:
    with pytest.raises(ModelError, match="two revisions"):
        parse("owner/repo@a:Q8_0@b")


@pytest.mark.parametrize(
    ("pick", "paths", "chosen"),
    [
        (None, QUANTS, ["m.Q4_K_M.gguf"]),
        (None, ["m.Q2_K.gguf", "m.Q8_0.gguf"], ["m.Q8_0.gguf"]),
        (None, ["a.mmproj.gguf", "m.Q6_K.gguf", "m.Q2_K.gguf"], ["m.Q6_K.gguf"]),
        ("q8_0", QUANTS, ["m.Q8_0.gguf"]),
        ("BF16", [*QUANTS, *reversed(SPLIT)], SPLIT),
        ("F16", [SPLIT[0], "m.F16.gguf"], ["m.F16.gguf"]),
        ("Q4_K_XL", ["m-UD-Q4_K_XL.gguf"], ["m-UD-Q4_K_XL.gguf"]),
        ("m.Q2_K.gguf", QUANTS, ["m.Q2_K.gguf"]),
        (SPLIT[0], SPLIT, SPLIT),
    ],
)
def test_which_files_a_name_means(pick: str | None, paths: list[str], chosen: list[str]) -> None:
    assert choose(HubName("o/r", pick), paths) == chosen


@pytest.mark.parametrize(
    ("pick", "paths", "message", "hint"),
    [
        ("Q5_K_M", QUANTS, "no GGUF file of the quant `Q5_K_M`", "it has `Q2_K`, `Q4_K_M`, `Q8_0`"),
        ("F16", SPLIT, "no GGUF file of the quant `F16`", "it has `BF16`"),
        ("Q8_0", ["plain.gguf"], "no GGUF file of the quant", "`plain.gguf`"),
        ("no.gguf", QUANTS, "no file `no.gguf`", "`m.Q2_K.gguf`"),
        ("m.mmproj-Q8_0.gguf", QUANTS, "goes with a model and is not one", "`m.Q8_0.gguf`"),
        (SPLIT[1], SPLIT, "is part 2", SPLIT[0]),
        ("BF16", SPLIT[:2], f"lacks a part of this model: `{SPLIT[2]}`", "another quant"),
        (None, ["config.json", "model.safetensors"], "no GGUF file of a model", "…/r-GGUF"),
        (None, ["x-mmproj.gguf"], "no GGUF file of a model", "`x-mmproj.gguf` goes with a model"),
        (None, ["README.md"], "no GGUF file of a model", "name a repository with GGUF files"),
    ],
)
def test_what_a_repository_does_not_have(pick: str | None, paths: list[str], message: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        choose(HubName("o/r", pick), paths)
    assert message in caught.value.message
    assert "`o/r" in str(caught.value)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("pick", "paths"),
    [
        (None, QUANTS),
        ("q8_0", QUANTS),
        (None, ["m.Q8_0.gguf", "n.Q8_0.gguf", "m.Q2_K.gguf"]),
        (None, ["x-mmproj-f16.gguf", "mtp-m.gguf", "m.IQ3_XS.gguf", "m.Q2_K.gguf"]),
        ("BF16", [*QUANTS, *SPLIT]),
        (None, [*SPLIT, "m.Q8_0.gguf"]),
        ("Q4_K", ["m.Q4_K_M.gguf", "m.i1-Q4_K.gguf"]),
    ],
)
def test_llama_cpp_takes_the_same_files(pick: str | None, paths: list[str], tmp_path: Path) -> None:
    with standing_in() as hub:
        hub.repo("o/r", {path: b"GGUF" + path.encode() for path in paths})
        commit = hub.repos["o/r"].branches["main"]
        name = HubName("o/r", pick)
        subprocess.run(
            [str(LLAMA_PERPLEXITY), "-hf", str(name), "-f", __file__],
            env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)},
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip
    assert CachedRepo(tmp_path / "hub", "o/r").files(commit) == choose(name, paths), "the models are no models: it ends"


def test_the_cache_is_where_llama_cpp_has_it(tmp_path: Path) -> None:
    order = ["LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"]
    below = ["", "", "", "hub", "huggingface/hub", ".cache/huggingface/hub"]
    environment = {variable: str(tmp_path / variable) for variable in order}
    for variable, more in zip(order[:-1], below, strict=False):
        assert cache_folder(environment) == tmp_path / variable / more
        with standing_in() as hub:
            hub.repo("o/r", {"m.Q8_0.gguf": b"GGUF"})
            subprocess.run(
                [str(LLAMA_PERPLEXITY), "-hf", "o/r", "-f", __file__],
                env={"HF_ENDPOINT": hub.endpoint, **environment},
                capture_output=True, timeout=120, check=False,
            )  # fmt: skip
        assert CachedRepo(cache_folder(environment), "o/r").commit(None)
        del environment[variable]
    assert cache_folder({}) == Path("~/.cache/huggingface/hub").expanduser()
    assert cache_folder({"LLAMA_CACHE": "", "HF_HOME": "~/x"}) == Path("~/x/hub").expanduser()


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("ON", True), ("0", False), ("", False)])
def test_offline_is_what_huggingface_hub_calls_so(value: str, offline: bool) -> None:
    assert is_offline({"HF_HUB_OFFLINE": value}) is offline
    assert is_offline({"TRANSFORMERS_OFFLINE": value}) is offline


def test_a_revision_in_the_cache(tmp_path: Path) -> None:
    repo = CachedRepo(tmp_path, "o/r")
    assert repo.commit(None) is None
    repo.snapshot(COMMIT).mkdir(parents=True)
    for revision in (None, "v1", "refs/pr/1"):
        assert repo.commit(revision) is None
        repo.note_commit(revision, COMMIT)
        assert repo.commit(revision) == COMMIT
    assert repo.commit("main") == COMMIT
    assert repo.commit(COMMIT) == COMMIT
    assert repo.commit("f" * 40) is None
    repo.note_commit(COMMIT, COMMIT)
    assert not (repo.folder / "refs" / COMMIT).exists()
    with pytest.raises(OSError, match="no revision"):
        repo.note_commit("../../x", COMMIT)
    repo.note_commit("gone", "f" * 40)
    assert repo.commit("gone") is None, "its files are not here"
