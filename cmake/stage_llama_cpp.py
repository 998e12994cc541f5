"""Make the patched llama.cpp tree that ppldelta builds.

The source comes from the archive that `patches/llama_cpp.txt` pins (fetched by pip, so that mirrors and
proxies work) or from a checkout (`--source`). The series in `patches/` is applied in memory, and a file is
written only when its content changes: a second build recompiles nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import strict_patch
from strict_patch import Failure, Tree

# What CMake needs with tools on and tests, examples, server, UI and app off. `tools/rpc` and `tools/tuning`
# are wanted by GGML_RPC and GGML_METAL.
STAGED = ("CMakeLists.txt", "LICENSE", "AUTHORS", "licenses")
STAGED += ("cmake", "common", "ggml", "include", "src", "tools", "vendor")
LEFT_OUT = ("tools/cli/", "tools/server/", "tools/ui/")

# --- the pin ---


@dataclass(frozen=True)
class Pin:
    """What `llama_cpp.txt` says: the requirement (for pip), its sha256, and the llama.cpp commit it carries."""

    path: Path
    requirement: str
    sha256: str
    commit: str


def read_pin(path: Path) -> Pin:
    text = read_text(path)
    requirement = re.search(r"^([A-Za-z0-9._-]+==\S+)\s.*--hash=sha256:([0-9a-f]{64})\s*$", text, re.M)
    commit = re.search(r"^# llama\.cpp commit: ([0-9a-f]{7,40})$", text, re.M)
    if not requirement or not commit:
        raise Failure(
            f"`{path}` lacks " + ("`# llama.cpp commit: ...`" if requirement else "`NAME==VERSION --hash=sha256:...`"),
            "restore the file from the repository",
        )
    return Pin(path, requirement[1], requirement[2], commit[1])


# --- the source ---


def archive(pin: Pin, downloads: Path) -> Path:
    """The pinned source archive: the one that lies in `downloads`, or fetched by pip."""
    found = find(pin, downloads)
    if not found:
        fetch(pin, downloads)
        found = find(pin, downloads)
    if not found:
        raise Failure(
            f"pip left no archive with sha256 {pin.sha256} in `{downloads}`", "empty that folder, then build again"
        )
    return found


def find(pin: Pin, downloads: Path) -> Path | None:
    name = re.sub("[-_]", "[-_]", pin.requirement.split("==")[0])
    return next(
        (path for path in sorted(downloads.glob(f"{name}-*.tar.gz")) if sha256(path.read_bytes()) == pin.sha256), None
    )


def fetch(pin: Pin, downloads: Path) -> None:
    downloads.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--require-hashes"]
    if importlib.util.find_spec("scikit_build_core"):  # its build backend: spares pip a minute's work
        command.append("--no-build-isolation")
    command += ["-r", str(pin.path), "-d", str(downloads), "--disable-pip-version-check"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode == 0:
        return
    said = done.stdout
    if "DO NOT MATCH THE HASHES" in said:
        got = re.search(r"Got\s+([0-9a-f]{64})", said)
        raise Failure(
            f"the archive of `{pin.requirement}` has another hash than `{pin.path}` pins\n"
            f"  expected: sha256 {pin.sha256}\n  found:    sha256 {got[1] if got else '(see pip)'}",
            "do not build it; see whether your index or mirror serves the original file, and who edited the pin",
        )
    if "No module named pip" in said:
        raise Failure(
            f"`{sys.executable}` has no pip, which fetches llama.cpp",
            "install pip for this Python, or give a checkout with -DPPLDELTA_LLAMA_CPP_DIR=DIR (--source DIR)",
        )
    reason = (
        ": no index is reachable, or none has it" if re.search("No matching distribution|[Cc]onnection", said) else ""
    )
    last = "".join("\n  pip: " + line.strip() for line in said.strip().splitlines()[-3:])
    raise Failure(
        f"pip could not fetch `{pin.requirement}`{reason}{last}",
        f"check the network and pip's index settings (`pip config list`); or put the archive into `{downloads}`; "
        "or give a checkout with -DPPLDELTA_LLAMA_CPP_DIR=DIR (--source DIR)",
    )


def wanted(path: str) -> bool:
    return path.split("/", 1)[0] in STAGED and not path.startswith(LEFT_OUT)


def read_archive(path: Path) -> Tree:
    tree: Tree = {}
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            inside = member.name.partition("/vendor/llama.cpp/")[2]
            if member.isfile() and wanted(inside):
                tree[inside] = tar.extractfile(member).read()
    return tree


def read_source(root: Path) -> Tree:
    if not (root / "src" / "llama.cpp").is_file() or not (root / "tools" / "perplexity").is_dir():
        raise Failure(
            f"`{root}` holds no llama.cpp: wanted `src/llama.cpp` and `tools/perplexity/` in it",
            "give the root folder of a llama.cpp checkout, or leave the option away to use the pinned source",
        )
    tree: Tree = {}
    for top in STAGED:
        start = root / top
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            inside = path.relative_to(root).as_posix()
            if path.is_file() and wanted(inside):
                tree[inside] = path.read_bytes()
    return tree


def source_commit(root: Path) -> str:
    """The commit of a checkout, read without git; `unknown` where it cannot be told."""
    try:
        head = (root / ".git" / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            ref = root / ".git" / head[5:]
            packed = root / ".git" / "packed-refs"
            head = ref.read_text() if ref.is_file() else re.search(rf"(\w+) {head[5:]}\n", packed.read_text())[1]
        return head[:9]
    except (OSError, TypeError):
        return "unknown"


# --- the staged tree ---


def read_series(folder: Path) -> list[str]:
    names = [line.strip() for line in read_text(folder / "series").splitlines()]
    return [name for name in names if name and not name.startswith("#")]


def write(tree: Tree, into: Path, key: str) -> tuple[int, int]:
    """Make `into` hold `tree`; files that an earlier run put there and that are not wanted now go.

    The stamp names the files before the first is written and its key comes last, so that an interrupted run is
    taken up again, and nothing that others put there is ever removed.
    """
    stamp = into / "ppldelta-stage.json"
    into.mkdir(parents=True, exist_ok=True)
    before = load_stamp(stamp)["files"]
    stamp.write_text(json.dumps({"key": None, "files": dict.fromkeys([*before, *tree])}))
    n_written = n_removed = 0
    for path, content in tree.items():
        target = into / path
        if not target.is_file() or target.stat().st_size != len(content) or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            n_written += 1
    for path in before:
        if path not in tree and (into / path).is_file():
            (into / path).unlink()
            n_removed += 1
    stamp.write_text(json.dumps({"key": key, "files": {path: state(into / path) for path in tree}}))
    return n_written, n_removed


def load_stamp(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {"key": None, "files": {}}


def state(path: Path) -> list[int] | None:
    try:
        found = os.stat(path)
        return [found.st_size, found.st_mtime_ns]
    except OSError:
        return None


def unchanged(into: Path, key: str) -> bool:
    stamp = load_stamp(into / "ppldelta-stage.json")
    return stamp["key"] == key and all(state(into / path) == seen for path, seen in stamp["files"].items())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot read `{path}`: {error.strerror}", "restore the file from the repository") from error


def stage(folder: Path, into: Path, source: Path | None, downloads: Path) -> list[str]:
    """Stage the tree; returns the lines to print, `key: value` each."""
    pin = read_pin(folder / "llama_cpp.txt")
    names = read_series(folder)
    contents = {}
    for name in names:
        if not (folder / name).is_file():
            raise Failure(
                f"`{folder / 'series'}` names `{name}`, which is not there", "restore the file from the repository"
            )
        contents[name] = (folder / name).read_bytes()
    series = sha256(b"".join(name.encode() + b"\0" + content for name, content in contents.items()))
    commit = source_commit(source) if source else pin.commit
    lines = [f"llama.cpp commit: {commit}", f"patches: {' '.join(names)}", f"series sha256: {series}"]

    scripts = Path(__file__).read_bytes() + Path(strict_patch.__file__).read_bytes()
    key = sha256(f"{pin.sha256} {series} {sha256(scripts)}".encode())
    if not source and unchanged(into, key):
        return [*lines, f"tree: {into.as_posix()} (unchanged)"]
    tree = read_source(source) if source else read_archive(archive(pin, downloads))
    if not tree:
        raise Failure(
            f"the archive of `{pin.requirement}` holds no `vendor/llama.cpp`", "pin a version whose source archive does"
        )
    notes: list[str] = []
    patches = [strict_patch.parse(name, content) for name, content in contents.items()]
    tree = strict_patch.apply_series(patches, tree, notes)
    n_written, n_removed = write(tree, into, key if not source else "source")
    lines += [f"note: {note}" for note in notes]
    return [*lines, f"tree: {into.as_posix()} ({len(tree)} files, {n_written} written, {n_removed} removed)"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the patched llama.cpp tree that ppldelta builds.")
    parser.add_argument("--patches", type=Path, required=True, help="folder with the pin, the series and the patches")
    parser.add_argument("--into", type=Path, required=True, help="folder to make or update")
    parser.add_argument("--source", type=Path, help="a llama.cpp checkout to copy from, instead of the pinned archive")
    parser.add_argument("--downloads", type=Path, help="where the archive is kept (default: `downloads` beside --into)")
    args = parser.parse_args()
    try:
        downloads = args.downloads or args.into.parent / "downloads"
        print("\n".join(stage(args.patches, args.into, args.source, downloads)))
    except Failure as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: cannot stage llama.cpp into `{args.into}`: {error}", file=sys.stderr)
        print("hint: check the folder's rights and the disk's free space", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
