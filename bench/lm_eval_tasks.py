"""Task files of lm-evaluation-harness and their data, made of the demo's corpus and of sums: no network needed.

`next_words`: which of four passages goes on with a text, the true one or three from elsewhere in the same document.
`sums`: which of four numbers is a sum of two numbers, with three examples in front that all items share.
`texts`: the perplexity of whole documents.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

N_NEXT_WORDS, N_SUMS = 350, 150

_CHOICES = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{target}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
metadata:
  version: 1.0
"""

_ROLLING = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
  - metric: bits_per_byte
metadata:
  version: 1.0
"""


def write(folder: Path, corpus: Path, seed: int = 0) -> list[str]:
    """Writes the tasks into a folder for `--include_path`; gives their names."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [path.read_text() for path in sorted(corpus.glob("[a-z]*/*.*"))]
    rng = random.Random(seed)
    tasks = {"next_words": _next_words(texts, rng), "sums": _sums(rng), "texts": [{"text": text} for text in texts]}
    for name, rows in tasks.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        template = _ROLLING if name == "texts" else _CHOICES
        (folder / f"{name}.yaml").write_text(template.format(name=name, data=data.absolute()))
    return list(tasks)


def _next_words(texts: list[str], rng: random.Random) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    while len(rows) < N_NEXT_WORDS:
        words = rng.choice(texts).split()
        if len(words) < 120:  # Japanese has no spaces
            continue
        places = rng.sample(range(40, len(words) - 8), 4)
        choices = [" ".join(words[at : at + 5]) for at in places]
        if len(set(choices)) == 4:
            target = rng.randrange(4)
            choices[0], choices[target] = choices[target], choices[0]
            text = " ".join(words[places[0] - rng.randint(10, 40) : places[0]])
            rows.append({"text": text, "choices": choices, "target": target})
    return rows


def _sums(rng: random.Random) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for _ in range(N_SUMS):
        a, b = rng.randint(1, 40), rng.randint(1, 40)
        others = rng.sample([n for n in range(2, 81) if n != a + b], 3)
        numbers = [a + b, *others]
        rng.shuffle(numbers)
        text = f"3 + 4 = 7\n10 + 15 = 25\n22 + 9 = 31\n{a} + {b} ="
        rows.append({"text": text, "choices": [str(n) for n in numbers], "target": numbers.index(a + b)})
    return rows
