"""Models from the hub, against a stand-in on loopback and with the real huggingface_hub."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ppldelta
from conftest import LLAMA_PERPLEXITY, until
from helpers.adapters import write_lora
from helpers.hub import Request, StandIn, standing_in
from ppldelta import demo
from ppldelta.errors import ModelError
from ppldelta.models import download
from ppldelta.models.download import Hub
from ppldelta.models.hub_cache import CachedRepo
from ppldelta.models.references import Named, resolve, resolve_all, resolve_many
from ppldelta.models.source import Adapter, HubFile

MIB = 1 << 20
SMALL, LARGE = b"GGUF small", b"GGUF" + os.urandom(3 * MIB)
PARTS = {f"split/big-Q8_0-0000{i}-of-00002.gguf": b"GGUF part %d" % i for i in (1, 2)}
NAME = "owner/repo:Q8_0"
RESOLVE_TOKEN = "hf_" + "a" * 37


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for variable in ("LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(download, "_PAUSE_S", 0.01)
    monkeypatch.chdir(tmp_path)
    with standing_in() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.endpoint)
        stand_in.repo("owner/repo", {"m.Q4_K_M.gguf": SMALL, "m.Q8_0.gguf": LARGE, "m.mmproj-Q8_0.gguf": b"", **PARTS})
        yield stand_in


@pytest.fixture
def cache(hub: StandIn, tmp_path: Path) -> CachedRepo:
    return CachedRepo(tmp_path / "home" / "hub", "owner/repo")


def commit_of(hub: StandIn) -> str:
    return hub.repos["owner/repo"].branches["main"]


def test_a_model_comes_into_the_cache_and_stays(hub: StandIn, cache: CachedRepo) -> None:
    found = resolve(NAME)
    assert found.label == "m.Q8_0"
    assert found.path == cache.snapshot(commit_of(hub)) / "m.Q8_0.gguf"
    assert found.path.read_bytes() == LARGE
    assert found.source.origin == HubFile("owner/repo", "m.Q8_0.gguf", commit_of(hub))
    assert found.path.resolve() == cache.blob(hashlib.sha256(LARGE).hexdigest())
    assert not list(cache.folder.rglob("*.incomplete"))
    hub.requests.clear()
    assert resolve(NAME) == found
    assert resolve(f"owner/repo@{commit_of(hub)}:m.Q8_0.gguf") == found
    assert not hub.transfers()
    assert resolve("owner/repo").path.read_bytes() == SMALL, "Q4_K_M by default"


def test_all_parts_of_a_split_model_come(hub: StandIn) -> None:
    found = resolve("owner/repo:split/big-Q8_0-00001-of-00002.gguf", label="mine")
    assert found.label == "mine"
    assert [part.read_bytes() for part in found.source.parts] == list(PARTS.values())
    assert found.source.origin
    assert found.source.origin.name == "owner/repo:split/big-Q8_0-00001-of-00002.gguf"


def test_an_adapter_of_yours_goes_with_a_model_of_the_hub(hub: StandIn, tmp_path: Path) -> None:
    hub.repos["owner/repo"].commit({"m.Q8_0.gguf": demo.REFERENCE.read_bytes()}, "v2")
    write_lora(tmp_path / "lora.gguf", seed=1)
    found = resolve("owner/repo@v2:Q8_0+lora.gguf:0.5")
    assert found.label == "m.Q8_0+lora:0.5"
    assert found.source.adapters == (Adapter(Path("lora.gguf"), 0.5),)
    assert found.path.read_bytes() == demo.REFERENCE.read_bytes()
    write_lora(tmp_path / "lora.gguf", seed=1, architecture="qwen2")
    with pytest.raises(ModelError, match="made for the architecture qwen2"):
        resolve("owner/repo@v2:Q8_0+lora.gguf:0.5")


def test_a_path_that_exists_wins(hub: StandIn, tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    (tmp_path / NAME).write_bytes(b"GGUF mine")
    assert resolve(NAME).source.origin is None
    (tmp_path / "owner" / "repo").mkdir()
    with pytest.raises(ModelError, match="`owner/repo` is a folder"):
        resolve("owner/repo")
    assert not hub.requests


def test_a_revision_is_a_branch_or_a_commit(hub: StandIn, cache: CachedRepo) -> None:
    first = commit_of(hub)
    hub.repos["owner/repo"].commit({"m.Q8_0.gguf": b"GGUF other"}, "v2")
    second = hub.repos["owner/repo"].branches["v2"]
    for name in ("owner/repo@v2:Q8_0", "owner/repo:Q8_0@v2", f"owner/repo@{second}:Q8_0"):
        assert resolve(name).path.read_bytes() == b"GGUF other"
    hub.repos["owner/repo"].branches["main"] = second
    assert resolve(NAME).path.read_bytes() == b"GGUF other"
    assert cache.commit("main") == second
    assert resolve(f"owner/repo@{first}:Q8_0").path.read_bytes() == LARGE


def test_models_of_one_call_are_of_one_commit(hub: StandIn) -> None:
    models = resolve_all("owner/repo:Q8_0", {"small": "owner/repo:Q4_K_M"}, Hub())
    assert [each.label for each in models] == ["m.Q8_0", "small"]
    assert sum("/tree/" in each.path and "cursor" not in each.path for each in hub.requests) == 1
    assert [each.label for each in resolve_many([Named("x", "owner/repo"), "owner/repo:Q8_0"])] == ["x", "m.Q8_0"]


def test_equal_labels_are_told_apart_by_owner(hub: StandIn) -> None:
    hub.repo("other/repo", {"m.Q8_0.gguf": SMALL})
    assert [each.label for each in resolve_all(NAME, "other/repo", Hub())] == ["owner/m.Q8_0", "other/m.Q8_0"]


def test_nothing_is_downloaded_before_all_names_are_found(hub: StandIn) -> None:
    with pytest.raises(ModelError, match="Q5_K_M"):
        resolve_all(NAME, ["owner/repo:Q5_K_M"], Hub())
    assert not hub.transfers()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(hub: StandIn, ranges: bool) -> None:
    hub.ranges = ranges
    hub.breaks = [MIB, 1000]
    assert resolve(NAME).path.read_bytes() == LARGE
    asked = [each.headers.get("range") for each in hub.transfers()]
    assert len(asked) == 3
    assert asked[0] is None
    assert asked[1] == f"bytes={MIB}-", "all that had come was kept"


def test_a_download_that_breaks_off_goes_on_in_the_next_run(hub: StandIn, cache: CachedRepo) -> None:
    hub.breaks = [2 * MIB] + [0] * download._TRIES
    with pytest.raises(ModelError, match=r"broke off after 2.* of 3.*\sMB: ") as caught:
        resolve(NAME)
    assert "goes on from there" in (caught.value.hint or "")
    (partial,) = cache.folder.rglob("*.incomplete")
    held = partial.stat().st_size
    assert held > MIB
    hub.requests.clear()
    seen = []

    class Watching(download.Silent):
        def __enter__(self) -> Watching:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, n: int) -> None:
            seen.append(n)

    def shown(what: str, total: int, initial: int) -> Watching:
        seen.extend([what, total, initial])
        return Watching()

    assert resolve(NAME, on=Hub(shown)).path.read_bytes() == LARGE
    assert [each.headers["range"] for each in hub.transfers()] == [f"bytes={held}-"]
    assert seen[:3] == ["m.Q8_0.gguf", len(LARGE), held]
    assert sum(seen[3:]) == len(LARGE) - held
    assert not list(cache.folder.rglob("*.incomplete"))


def test_what_an_interrupt_leaves_is_used(hub: StandIn, cache: CachedRepo) -> None:
    """With a real process, a real signal, and the command line."""
    hub.breaks = [2 * MIB, *[0] * 100]
    command = [sys.executable, "-m", "ppldelta.cli", "score", str(demo.CORPUS), "--ref", NAME, "--cmp", NAME, "-o", "o"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: any(path.stat().st_size > MIB for path in cache.folder.rglob("*.incomplete")), 60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    (partial,) = cache.folder.rglob("*.incomplete")
    held = partial.stat().st_size
    hub.breaks.clear()
    hub.requests.clear()
    assert resolve(NAME).path.read_bytes() == LARGE
    assert [each.headers["range"] for each in hub.transfers()] == [f"bytes={held}-"]


def test_another_file_than_the_promised_one_is_thrown_away(hub: StandIn, cache: CachedRepo) -> None:
    blob = cache.blob(hashlib.sha256(LARGE).hexdigest())
    blob.parent.mkdir(parents=True)
    partial = blob.with_name(f"{blob.name}.incomplete")
    partial.write_bytes(b"x" * MIB)
    with pytest.raises(ModelError, match="its hash is another"):
        resolve(NAME)
    assert not partial.exists()
    partial.write_bytes(b"x" * 5 * MIB)  # longer than all of it
    assert resolve(NAME).path.read_bytes() == LARGE


def test_two_processes_download_a_file_once(hub: StandIn) -> None:
    hub.before_bytes = lambda: time.sleep(1.0)
    code = f"from ppldelta.models.references import resolve; print(resolve({NAME!r}).path)"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0] for process in processes}
    assert len(paths) == 1
    assert Path(paths.pop().strip()).read_bytes() == LARGE
    assert len(hub.transfers()) == 1


def test_a_token_goes_to_the_hub_and_to_nobody_else(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["owner/repo"].token = RESOLVE_TOKEN
    with pytest.raises(ModelError, match="no public repository `owner/repo`") as caught:
        resolve(NAME)
    assert "HF_TOKEN" in (caught.value.hint or "")
    monkeypatch.setenv("HF_TOKEN", RESOLVE_TOKEN)
    assert resolve(NAME).path.read_bytes() == LARGE
    assert not [each for each in hub.transfers() if "authorization" in each.headers]
    monkeypatch.setenv("HF_TOKEN", "hf_" + "b" * 37)
    with pytest.raises(ModelError, match="does not give `owner/repo:Q4_K_M` to this user"):
        resolve("owner/repo:Q4_K_M")


def test_a_gated_repository_says_how_to_get_in(hub: StandIn) -> None:
    hub.repos["owner/repo"].gated, hub.repos["owner/repo"].token = True, RESOLVE_TOKEN
    with pytest.raises(ModelError, match="`owner/repo` is gated") as caught:
        resolve(NAME)
    assert "hf auth login" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/nothing:Q8_0", "there is no file `nobody/nothing:Q8_0`, and no public repository `nobody/nothing`"),
        ("owner/repo@v9", "has no revision `v9`"),
        ("owner/repo:no.gguf", "has no file `no.gguf`"),
    ],
)
def test_what_is_not_there_is_named(hub: StandIn, name: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(name)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("where", ["/api/", "/cdn/"])
def test_too_many_requests_say_when_to_come_back(hub: StandIn, cache: CachedRepo, where: str) -> None:
    def refuse(request: Request) -> tuple[int, dict[str, str]] | None:
        return (429, {"Retry-After": "77"}) if request.path.startswith(where) else None

    hub.refuse = refuse
    with pytest.raises(ModelError, match=r"too many requests \(429\); it asks to retry after 77 s"):
        resolve(NAME)


def test_a_hub_that_fails_for_a_moment_is_asked_again(hub: StandIn) -> None:
    answers = iter([503, 500])

    def refuse(request: Request) -> tuple[int, dict[str, str]] | None:
        status = next(answers, None) if request.path.startswith("/cdn/") else None
        return (status, {}) if status else None

    hub.refuse = refuse
    assert resolve(NAME).path.read_bytes() == LARGE


def test_without_a_network_the_cache_is_what_there_is(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve(NAME)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    on = Hub()
    assert resolve(NAME, on=on) == found
    (warning,) = on.warnings
    assert "does not answer" in warning
    assert commit_of(hub)[:12] in warning
    with pytest.raises(
        ModelError, match=r"there is no file `owner/repo:Q4_K_M`, and .* hub cannot be reached.*holds `m.Q8_0.gguf`"
    ):
        resolve("owner/repo:Q4_K_M")
    with pytest.raises(ModelError, match=r"there is no file `other/repo`, and .* cannot be reached"):
        resolve("other/repo")


def test_offline_is_a_rule_and_no_accident(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve(NAME)
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # it is not needed for that
    on = Hub()
    assert resolve(NAME, on=on) == resolve("owner/repo", on=on) == found, "of what is there"
    assert not on.warnings
    with pytest.raises(
        ModelError, match=r"no file `owner/repo:Q4_K_M`, HF_HUB_OFFLINE is set.* does not hold it.*`m.Q8_0.gguf`"
    ):
        resolve("owner/repo:Q4_K_M")
    assert not hub.requests


def test_without_the_package_the_error_says_how_to_get_it(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(ModelError, match=r"there is no file `owner/repo:Q8_0`.*`huggingface_hub`") as caught:
        resolve(NAME)
    assert caught.value.hint == "pip install 'ppldelta[hub]'"


def test_a_full_disk_is_seen_before_and_while(hub: StandIn, cache: CachedRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> Iterator[bytes]:
        yield LARGE[:MIB]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        monkeypatch.context() as patched,
        pytest.raises(ModelError, match=r"no room for `owner/repo:Q8_0`\n") as caught,
    ):
        patched.setattr(download, "_chunks", full)
        resolve(NAME)
    assert "LLAMA_CACHE" in (caught.value.hint or "")
    (partial,) = cache.folder.rglob("*.incomplete")
    partial.unlink()
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=MIB))
    hub.requests.clear()
    with pytest.raises(ModelError, match=r"has no room for `owner/repo:Q8_0`: 3\.\d+\sMB more, 1\.\d+\sMB free"):
        resolve(NAME)
    assert not hub.transfers()
    assert resolve("owner/repo:Q4_K_M").path.read_bytes() == SMALL


def test_a_cache_that_cannot_be_written_is_named(hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot write to the hub's cache `.*/file`") as caught:
        resolve(NAME)
    assert "HF_HOME" in (caught.value.hint or "")


def test_a_file_too_large_for_http_is_left_to_huggingface_hub(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_MOST_HTTP_BYTES", MIB)
    assert resolve(NAME).path.read_bytes() == LARGE


def test_what_is_no_gguf_is_refused(hub: StandIn) -> None:
    hub.repo("owner/lie", {"m.Q8_0.gguf": b"<html>"})
    with pytest.raises(ModelError, match="`owner/lie` is not a GGUF file"):
        resolve("owner/lie")


def test_llama_cpp_and_this_share_the_cache(hub: StandIn, cache: CachedRepo) -> None:
    command = [str(LLAMA_PERPLEXITY), "-hf", NAME, "-f", __file__]
    subprocess.run(command, capture_output=True, timeout=120, check=False)
    (there,) = cache.snapshot(commit_of(hub)).iterdir()
    hub.requests.clear()
    assert resolve(NAME).path == there
    assert not hub.transfers()
    assert resolve("owner/repo").path.read_bytes() == SMALL
    hub.requests.clear()
    subprocess.run([*command[:2], "owner/repo", *command[3:]], capture_output=True, timeout=120, check=False)
    assert hub.requests
    assert not hub.transfers(), "what was downloaded here is there for llama.cpp"


def test_a_run_with_names_says_where_its_models_are_from(hub: StandIn, tmp_path: Path) -> None:
    reference = demo.REFERENCE.read_bytes()
    hub.repo(
        "me/tiny",
        {"tiny.Q8_0.gguf": reference, "tiny.Q2_K.gguf": demo.REFERENCE.with_name("tiny-ref.Q2_K.gguf").read_bytes()},
    )
    text = {"prose/a.txt": (demo.CORPUS / "prose" / "plum_dumplings.txt").read_text()}
    result = ppldelta.score(text, "me/tiny:Q8_0", ["me/tiny:Q2_K"], store=None, progress=False)
    (family,) = ppldelta.load(result.save(tmp_path / "out")).families
    assert family.name == family.ref.label == "tiny.Q8_0"
    assert family.models == ["tiny.Q2_K"]
    assert family.ref.hub == "me/tiny:tiny.Q8_0.gguf"
    assert family.ref.hub_commit == hub.repos["me/tiny"].branches["main"]
    assert family.ref.sha256 == hashlib.sha256(reference).hexdigest()
    hub.requests.clear()
    again = resolve(f"{family.ref.hub}@{family.ref.hub_commit}")
    assert again.path == Path(family.ref.path or "")


def test_progress_is_quiet_if_it_shall_be(hub: StandIn) -> None:
    """Neither a bar nor what huggingface_hub logs, such as the sentence that the stand-in sends."""
    hub.breaks = [MIB]
    code = f"from ppldelta.models.references import resolve; print(resolve({NAME!r}).label)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("m.Q8_0\n", "")
    assert len(hub.transfers()) == 2


def test_the_command_line_takes_names_and_ends_with_one_line(hub: StandIn, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ppldelta.cli", "score", str(demo.CORPUS), "-o", "out", "--ref"]
    for ref, cmp, message in [
        ("nobody/nothing", "x=owner/repo", "there is no file `nobody/nothing`, and no public repository"),
        ("owner/repo", "x=owner/repo:Q3_K", "the repository `owner/repo` has no GGUF file of the quant `Q3_K`"),
    ]:
        done = subprocess.run([*command, ref, "--cmp", cmp], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        line, hint = done.stderr.splitlines()
        assert line.startswith(f"ppldelta: error: {message}")
        assert hint.startswith("hint: ")
        assert not (tmp_path / "out").exists()
    done = subprocess.run([*command, NAME, "--cmp", "x=owner/repo"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, "these files hold no model"
    assert "m.Q8_0.gguf: 3.15" in done.stderr, "how far the download is"
