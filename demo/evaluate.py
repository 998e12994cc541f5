"""Measures the finished files on text that none of them was trained on: perplexity per category.

Categories: the folders of the demo's corpus, Python's packages `json` and `email` (`json_email`), and documents kept
back from the sources of the training text (`same_sources`). Every token of a document is scored once, after BOS, in
windows of at most 1536 tokens; float32 torch, float64 log-softmax.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer

import export
import tokenizer as family_tokenizer
import training_text
from llama import Llama, Shape

WINDOW = 1536


def corpora(corpus: Path, work: Path) -> dict[str, list[str]]:
    """Category → documents."""
    found = {
        folder.name: [path.read_text() for path in sorted(folder.iterdir()) if path.is_file()]
        for folder in sorted(corpus.iterdir())
        if folder.is_dir()
    }
    library = sorted((work / "packages").glob("libpython3.11-*/usr/lib/python3.11/**/*.py"))
    found["json_email"] = [path.read_text() for path in library if path.parent.name in ("json", "email", "mime")]
    kept_back = [text for texts in training_text.load(work / "text.jsonl", "watch").values() for text in texts]
    found["same_sources"] = kept_back[::4]
    return found


@torch.no_grad()
def nll(model: Llama, ids: list[int]) -> tuple[float, int]:
    """Sum of the negative log-likelihoods (nats) and number of scored tokens of one document without its BOS."""
    total, count = 0.0, 0
    for start in range(0, len(ids), WINDOW):
        window = torch.tensor([[family_tokenizer.BOS_ID, *ids[start : start + WINDOW]]])
        logp = model(window[:, :-1]).double().log_softmax(-1)
        total -= logp.gather(-1, window[:, 1:, None]).sum().item()
        count += window.shape[1] - 1
    return total, count


def perplexities(model: Llama, tokenizer: Tokenizer, documents: dict[str, list[str]]) -> dict[str, float]:
    """Category → perplexity, weighted by tokens."""
    found = {}
    for category, texts in documents.items():
        scored = [nll(model, tokenizer.encode(text, add_special_tokens=False).ids) for text in texts if text]
        found[category] = float(
            torch.tensor(sum(total for total, _ in scored) / sum(count for _, count in scored)).exp()
        )
    return found


def table(paths: list[Path], shape: Shape, work: Path, corpus: Path) -> None:
    """Prints one row per file."""
    tokenizer = family_tokenizer.load(work / "tokenizer.json")
    documents = corpora(corpus, work)
    print("| file | bytes | " + " | ".join(documents) + " |\n" + "|---" * (len(documents) + 2) + "|")
    for path in paths:
        row = perplexities(export.read(path, shape), tokenizer, documents)
        print(
            f"| {path.name} | {path.stat().st_size:,} | " + " | ".join(f"{value:.1f}" for value in row.values()) + " |"
        )
