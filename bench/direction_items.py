"""Four-choice items with known answers, made of texts at hand; seeded, and nothing is downloaded.

`prose`, `reference`, `licence`: a sentence without its last five words, and the last five words of four sentences of
the same text. The texts are half of the demo's prose, half of Python's language reference (`pydoc_data.topics`), and
Debian's `/usr/share/common-licenses`. `sums`: 1 to 40 plus 1 to 40. `order`: what comes after or before a letter, a
day, a month, a number. What no item is made of is left for training and for measuring (`Rest`).
"""

from __future__ import annotations

import calendar
import random
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

from package import PACKAGE

CORPUS = PACKAGE / "demo/corpus"
LICENCES = ("Apache-2.0", "Artistic", "CC0-1.0", "GFDL-1.3", "GPL-3", "LGPL-2.1", "MPL-2.0")
N_ENDING = 5
N_CHOICES = 4
SUMS = "3 + 4 = 7\n10 + 15 = 25\n22 + 9 = 31\n"


@dataclass(frozen=True)
class Item:
    """A question: each choice begins with a space; `right` is the index of the true one."""

    task: str
    context: str
    choices: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class Rest:
    """What no item is made of: sums (a, b), passages of the language reference, documents of the demo by name."""

    sums: list[tuple[int, int]]
    passages: list[str]
    documents: dict[str, str]


def make(seed: int = 0, n_endings: int = 80, n_sums: int = 80, n_order: int = 80) -> tuple[list[Item], Rest]:
    """The items, `n_endings` of each of the three sorts of text, and what is left."""
    rng = random.Random(seed)
    prose = sorted((CORPUS / "prose").glob("*.txt"))
    mine = {path.name for path in prose[::2]}
    texts = {
        "prose": [path.read_text("utf-8") for path in prose[::2]],
        "reference": [topics[name] for name in sorted(topics) if _of_items(name)],
        "licence": [
            path.read_text("utf-8")
            for path in map(Path("/usr/share/common-licenses").joinpath, LICENCES)
            if path.exists()
        ],
    }
    items = [item for task, some in texts.items() for item in _endings(task, some, n_endings, rng)]
    pairs = [(a, b) for a in range(1, 41) for b in range(1, 41)]
    rng.shuffle(pairs)
    items += [_sum(a, b, rng) for a, b in pairs[:n_sums]]
    items += _order(n_order, rng)
    asked = [item.context + item.choices[item.right] for item in items if item.task == "reference"]
    others = sorted(path for path in CORPUS.glob("[a-z]*/*.*") if path.name not in mine)
    return items, Rest(
        pairs[n_sums:],
        [
            passage
            for name in sorted(topics)
            for passage in ([] if _of_items(name) else _passages(topics[name]))
            if not any(sentence in passage for sentence in asked)  # some topics repeat others
        ],
        {path.relative_to(CORPUS).as_posix(): path.read_text("utf-8") for path in others},
    )


def _of_items(name: str) -> bool:
    """Whether items are made of this topic."""
    return zlib.crc32(name.encode()) % 2 == 0


def _passages(text: str) -> list[str]:
    """Paragraphs of plain sentences, each as one line."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        if re.match(r"[A-Z][a-z]* ", line) and line.endswith(".") and not re.search(r"[|{}]|::|>>>|\.\.\. ", line):
            found.append(line)
    return found


def _sentences(text: str) -> list[list[str]]:
    """Sentences of 14 to 28 words, as words."""
    found = []
    for passage in _passages(text):
        for sentence in re.split(r"(?<=[a-z)\"][.!?])\s+(?=[A-Z\"])", passage):
            words = sentence.split()
            if 14 <= len(words) <= 28 and len(sentence) <= 180:
                found.append(words)
    return found


def _endings(task: str, texts: list[str], n: int, rng: random.Random) -> list[Item]:
    found = []
    for text in texts:
        sentences = list({" ".join(words[-N_ENDING:]): words for words in _sentences(text)}.values())
        for words in sentences if len(sentences) >= N_CHOICES else ():
            others = rng.sample([each for each in sentences if each is not words], N_CHOICES - 1)
            endings = [" " + " ".join(each[-N_ENDING:]) for each in (words, *others)]
            found.append(_shuffled(task, " ".join(words[:-N_ENDING]), endings, rng))
    return rng.sample(found, min(n, len(found)))


def _shuffled(task: str, context: str, choices: list[str], rng: random.Random) -> Item:
    """An item of choices of which the first is right."""
    true = choices[0]
    rng.shuffle(choices)
    return Item(task, context, tuple(choices), choices.index(true))


def _sum(a: int, b: int, rng: random.Random) -> Item:
    near = [n for n in range(max(2, a + b - 12), a + b + 13) if n != a + b]
    return _shuffled("sums", f"{SUMS}{a} + {b} =", [f" {n}" for n in (a + b, *rng.sample(near, 3))], rng)


def _order(n: int, rng: random.Random) -> list[Item]:
    rows = {
        "letter": [chr(ord("A") + i) for i in range(26)],
        "day": list(calendar.day_name),
        "month": list(calendar.month_name)[1:],
        "number": [str(n) for n in range(11, 99, 2)],
    }
    found = []
    for name, row in rows.items():
        for i, each in enumerate(row):
            for word, step in (("after", 1), ("before", -1)):
                if not 0 <= i + step < len(row):
                    continue
                true = str(int(each) + step) if name == "number" else row[i + step]
                near = [str(int(each) + k) for k in (-step, 2, -2, 10)] if name == "number" else row
                others = rng.sample([other for other in near if other not in (true, each)], 3)
                context = f"The {name} that comes right {word} {each} is"
                found.append(_shuffled("order", context, [f" {other}" for other in (true, *others)], rng))
    return rng.sample(found, min(n, len(found)))
