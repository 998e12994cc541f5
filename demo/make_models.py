"""Makes the demo models from nothing: `python demo/make_models.py --out python/ppldelta/demo/models`.

Stages: text, tokenizer, tokens, reference, finetunes, files. Each leaves its result in the work folder and is skipped
when that is there, so an interrupted run goes on where it stopped. Seeds are fixed and torch runs on one thread.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import torch

import evaluate
import export
import tokenizer as family_tokenizer
import training_text
from llama import Llama, Shape
from sources import LANGUAGES
from train import Recipe, train

SHAPE = Shape(n_vocab=family_tokenizer.VOCAB_SIZE)

# The reference hears a little of everything and most of English; each finetune hears only its own subject.
MULTILINGUAL = {name: 1.0 for name in LANGUAGES}
RECIPES = {
    "tiny-ref": Recipe({"prose": 4.5, "code": 2.5} | {name: 3.0 / len(LANGUAGES) for name in LANGUAGES}, n_steps=1150),
    "tiny-code": Recipe({"code": 1.0}, n_steps=200, lr_muon=0.01, lr_adam=0.002, long_rows_from=0.0, seed=2),
    "tiny-multilingual": Recipe(MULTILINGUAL, n_steps=200, lr_muon=0.01, lr_adam=0.002, long_rows_from=0.0, seed=3),
}

FAMILY = "Demo model of ppldelta: a Llama with two million parameters, trained on text from Debian packages. "
CARDS = {
    "tiny-ref": export.Card(
        "tiny-ref", FAMILY + "The reference, on English prose, source code and nine other languages."
    ),
    "tiny-code": export.Card("tiny-code", FAMILY + "tiny-ref, finetuned on source code.", "code"),
    "tiny-multilingual": export.Card(
        "tiny-multilingual", FAMILY + "tiny-ref, finetuned on nine languages other than English.", "multilingual"
    ),
}


def tokens(work: Path) -> dict[str, np.ndarray]:
    """Category → its training documents as one stream of tokens, BOS before each document."""
    path = work / "tokens.npz"
    if not path.exists():
        tokenizer = family_tokenizer.load(work / "tokenizer.json")
        streams = {}
        for category, texts in training_text.load(work / "text.jsonl", "train").items():
            encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
            streams[category] = np.concatenate(
                [np.array([family_tokenizer.BOS_ID, *text.ids], dtype=np.uint16) for text in encoded]
            )
        np.savez(work / "tokens.part.npz", **streams)
        (work / "tokens.part.npz").rename(path)
    return dict(np.load(path))


def trained(name: str, work: Path, scale: float) -> Llama:
    """The trained model of this name; finetunes start from the reference.

    The file's name carries what the training depends on, so that a trial or an older recipe is never taken for it.
    """
    chain = ["tiny-ref"] if name == "tiny-ref" else ["tiny-ref", name]
    recipes = [replace(RECIPES[each], n_steps=max(1, round(scale * RECIPES[each].n_steps))) for each in chain]
    path = work / f"{name}-{hashlib.sha256(repr((SHAPE, recipes)).encode()).hexdigest()[:8]}.pt"
    torch.manual_seed(0)
    model = Llama(SHAPE)
    if path.exists():
        model.load_state_dict(torch.load(path))
        return model
    if name != "tiny-ref":
        model = trained("tiny-ref", work, scale)
    train(model, tokens(work), recipes[-1], name)
    torch.save(model.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the .gguf files")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "ppldelta-demo-models",
        help="folder for what the stages leave (default: %(default)s)",
    )
    parser.add_argument("--corpus", type=Path, help="held-out corpus to measure the files on (folders are categories)")
    parser.add_argument(
        "--llama-quantize", default="llama-quantize", help="llama.cpp's program of this name (default: from PATH)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of steps, for a quick trial")
    arguments = parser.parse_args()
    if not shutil.which(arguments.llama_quantize):
        sys.exit(f"no program `{arguments.llama_quantize}`\nhint: build llama.cpp and pass --llama-quantize PATH")
    torch.set_num_threads(1)
    work, out = arguments.work, arguments.out
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)

    if not (work / "text.jsonl").exists():
        training_text.make(work / "packages", work / "text.jsonl")
    if not (work / "tokenizer.json").exists():
        family_tokenizer.train(training_text.load(work / "text.jsonl", "train"), work / "tokenizer.json")
    for name in RECIPES:
        model = trained(name, work, arguments.scale)
        export.write(
            model, work / "tokenizer.json", out / f"{name}.Q8_0.gguf", gguf.LlamaFileType.MOSTLY_Q8_0, CARDS[name]
        )
        export.write(model, work / "tokenizer.json", work / f"{name}.F32.gguf", gguf.LlamaFileType.ALL_F32, CARDS[name])
    export.quantize(arguments.llama_quantize, work / "tiny-ref.F32.gguf", out / "tiny-ref.Q2_K.gguf")
    print(f"{sum(os.path.getsize(path) for path in out.glob('*.gguf')):,} bytes in {out}")
    if arguments.corpus:
        evaluate.table(sorted(out.glob("*.gguf")), SHAPE, work, arguments.corpus)


if __name__ == "__main__":
    main()
