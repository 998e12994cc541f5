"""Apply a series of unified diffs to files held in memory, strictly.

Our own, since neither `git` nor `patch` need exist where ppldelta is built, and patch-ng edits files in place one
by one, overwrites a file that a patch means to create, and leaves its reasons in a log. Context must match
exactly, byte for byte; a hunk may stand at another line only where its old lines occur exactly once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Tree = dict[str, bytes]  # path below the root, with forward slashes -> content

HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
REMEDY = (
    "the series is made for the pinned llama.cpp: build without PPLDELTA_LLAMA_CPP_DIR (--source), "
    'or refresh the patch as patches/README.md says under "When the pin moves"'
)


class Failure(Exception):
    """What happened, and the next step."""

    def __init__(self, what: str, hint: str):
        super().__init__(f"error: {what}\nhint: {hint}")


@dataclass(frozen=True)
class Hunk:
    number: int
    start: int  # of the old lines, counted from 0
    old: list[bytes]
    new: list[bytes]


@dataclass(frozen=True)
class FilePatch:
    path: str
    creates: bool
    hunks: list[Hunk]


@dataclass(frozen=True)
class Patch:
    name: str
    files: list[FilePatch]

    def reversed(self) -> Patch:
        return Patch(
            self.name,
            [
                FilePatch(f.path, f.creates, [Hunk(h.number, h.start, h.new, h.old) for h in f.hunks])
                for f in self.files
            ],
        )


def parse(name: str, content: bytes) -> Patch:
    """A unified diff: changed and created files; text before the first `---` is a description."""
    lines = split(content)

    def broken(at: int, wanted: str) -> Failure:
        found = lines[at].decode(errors="replace").rstrip() if at < len(lines) else "(end of file)"
        return Failure(
            f"patch `{name}`, line {at + 1}: expected {wanted}\n  found: {found}",
            "restore the file from the repository",
        )

    files: list[FilePatch] = []
    at = 0
    while at < len(lines):
        if not lines[at].startswith(b"--- "):
            if files and lines[at][:1] in (b"@", b"+", b"-", b" ", b"\\"):
                raise broken(at, "a hunk that holds as many lines as its `@@` says, and ends with a line end")
            at += 1
            continue
        if not lines[at + 1 : at + 2] or not lines[at + 1].startswith(b"+++ b/"):
            raise broken(at + 1, "`+++ b/PATH`")
        path = lines[at + 1][6:].split(b"\t")[0].strip().decode()
        creates = lines[at].split()[1] == b"/dev/null"
        at += 2
        hunks: list[Hunk] = []
        while at < len(lines) and (head := HUNK.match(lines[at])):
            start, n_old, _, n_new = (int(n) if n is not None else 1 for n in head.groups())
            at += 1
            old, new = [], []
            while len(old) < n_old or len(new) < n_new:
                kind, text = (lines[at][:1], lines[at][1:]) if at < len(lines) else (b"", b"")
                if kind not in (b" ", b"-", b"+"):
                    raise broken(at, "a line that begins with a space, `-` or `+`")
                if kind != b"+":
                    old.append(text)
                if kind != b"-":
                    new.append(text)
                at += 1
            if len(old) != n_old or len(new) != n_new:
                raise broken(at - 1, f"{n_old} old and {n_new} new lines in hunk {len(hunks) + 1} of `{path}`")
            if not (old and new) and not creates:
                raise broken(at - 1, f"context around hunk {len(hunks) + 1} of `{path}`")
            hunks.append(Hunk(len(hunks) + 1, start - 1 if n_old else start, old, new))
        if not hunks:
            raise broken(at, "`@@ -LINE,COUNT +LINE,COUNT @@`")
        files.append(FilePatch(path, creates, hunks))
    if not files:
        raise broken(len(lines), "a unified diff (`--- a/PATH`, `+++ b/PATH`, hunks)")
    return Patch(name, files)


def apply(patch: Patch, tree: Tree, notes: list[str]) -> Tree:
    """`tree` with the patch in it (a new dict). `notes` gets a line for each hunk found at another line."""
    changed: Tree = {}
    for file in patch.files:
        where = f"patch `{patch.name}` does not apply to `{file.path}`"
        present = tree.get(file.path)
        if file.creates and present is not None:
            raise Failure(f"{where}, hunk 1\n  expected: no such file\n  found:    {len(present)} bytes", REMEDY)
        if not file.creates and present is None:
            raise Failure(f"{where}, hunk 1\n  expected: the file\n  found:    no such file", REMEDY)
        changed[file.path] = apply_hunks(file, present or b"", where, notes)
    return {**tree, **changed}


def unapply(patch: Patch, tree: Tree) -> Tree:
    """`tree` without the patch, which must be in it completely."""
    changed: Tree = {}
    for file in patch.reversed().files:
        content = tree.get(file.path, b"")
        if file.creates and content != b"".join(file.hunks[0].old):
            raise Failure(f"`{file.path}` differs", REMEDY)
        changed[file.path] = apply_hunks(file, content, "", [])
    created = {file.path for file in patch.files if file.creates}
    return {path: content for path, content in {**tree, **changed}.items() if path not in created}


def split(content: bytes) -> list[bytes]:
    """Lines with their ends. (`splitlines` would also cut at a lone carriage return.)"""
    return re.findall(rb"[^\n]*\n|[^\n]+", content)


def apply_hunks(file: FilePatch, content: bytes, where: str, notes: list[str]) -> bytes:
    lines = split(content)
    result: list[bytes] = []
    done = shift = 0
    for hunk in file.hunks:
        at = locate(hunk, lines, done, hunk.start + shift, where)
        if at != hunk.start + shift:
            notes.append(f"{file.path}: hunk {hunk.number} found {at - hunk.start - shift:+d} lines away")
            shift = at - hunk.start
        result += lines[done:at] + hunk.new
        done = at + len(hunk.old)
    return b"".join(result + lines[done:])


def locate(hunk: Hunk, lines: list[bytes], done: int, expected: int, where: str) -> int:
    """Where the hunk's old lines stand: at the expected line, else at the only place where they occur."""
    n = len(hunk.old)
    if lines[expected : expected + n] == hunk.old and expected >= done:
        return expected
    exact = [at for at in range(done, len(lines) - n + 1) if lines[at : at + n] == hunk.old] if n else []
    if len(exact) == 1:
        return exact[0]
    where += f", hunk {hunk.number} (line {expected + 1})"
    if exact:
        raise Failure(
            f"{where}: its lines occur {len(exact)} times, first at lines {[at + 1 for at in exact[:3]]}", REMEDY
        )

    def alike(at: int) -> tuple[int, int]:
        return sum(a == b for a, b in zip(lines[at : at + n], hunk.old, strict=False)), -abs(at - expected)

    best = max(range(done, len(lines) + 1), key=alike)
    differs = next(i for i in range(n) if lines[best + i : best + i + 1] != [hunk.old[i]])
    expected_line, found_line = hunk.old[differs], (lines[best + differs :] or [b"(end of file)"])[0]
    show = repr if expected_line.strip() == found_line.strip() else str.strip  # differing white space must be seen
    text = "\n  expected: {}\n  found:    {}".format(
        *(show(t.decode(errors="replace")) for t in (expected_line, found_line))
    )
    raise Failure(f"{where}: line {best + differs + 1} differs{text}", REMEDY)


def apply_series(patches: list[Patch], tree: Tree, notes: list[str]) -> Tree:
    """The whole series; a tree that already holds some of the patches is accepted."""
    try:
        result = tree
        for patch in patches:
            result = apply(patch, result, notes)
        return result
    except Failure as first:
        already = []
        notes.clear()
        for patch in reversed(patches):
            try:
                tree = unapply(patch, tree)
                already.append(patch.name)
            except Failure:
                pass
        if not already:
            raise first
    notes += [f"already in the source: {name}" for name in reversed(already)]
    for patch in patches:
        tree = apply(patch, tree, notes)
    return tree
