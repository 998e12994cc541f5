"""Compares ppldelta in lm-evaluation-harness with the harness's own `hf` backend, on the same weights.

    pip install lm-eval torch transformers gguf
    python bench/bench_lm_eval.py F32.gguf [--max-length 512] [--limit N] [--figure OUT.html]

The GGUF's weights and vocabulary become a transformers model of float32 in this process; nothing is downloaded. Both
backends run the task files of `lm_eval_tasks`, and pairs that are hard to split into tokens. It fails if the backends
choose differently in more than two items of 500, or differ in what is said to be greedy where the choice is not close.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import lm_eval
import numpy as np
import plotly.graph_objects as go
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from lm_eval_tasks import write
from ppldelta import demo
from ppldelta.lm_eval import PpldeltaLM
from ppldelta.reporting import theme

CLOSE = 0.05
"""Nats between two choices below which rounding may decide: keys and values of attention have 16 bit in llama.cpp."""

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

ODD = [
    ("", "Once upon a time"),
    ("", " a"),
    ("Trailing space ", "moves"),
    ("Trailing lines\n\n", "move too"),
    ("Tabs\t and  spaces  ", " and more"),
    ("Half a wor", "d goes on"),
    ("Ein schöner", " Tag im März"),
    ("雨の朝", "です。"),
    ("<|im_start|>user\nHi", "<|im_end|>\n"),
    ("A long way. " * 80, "Behind it."),
    ("12345", "67890"),
    ("One", " two three four five six seven eight nine ten " * 3),
]


def hf_model(path: Path, max_length: int) -> HFLM:
    """The GGUF's weights and vocabulary in the harness's own backend."""
    reader = gguf.GGUFReader(path)

    def field(name: str) -> Any:
        return reader.fields[f"tokenizer.ggml.{name}"].contents()

    tokens, types = field("tokens"), field("token_type")
    merges = [tuple(each.split(" ")) for each in field("merges")]
    is_llama3 = field("pre") == "llama-bpe"
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, ignore_merges=is_llama3))
    first = (
        pre_tokenizers.Split(Regex(_LLAMA3), "isolated")
        if is_llama3
        else pre_tokenizers.Digits(individual_digits=True)  # smollm
    )
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not is_llama3)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types, strict=True) if kind == 3]
    )
    bos, eos = field("bos_token_id"), field("eos_token_id")
    if field("add_bos_token"):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", special_tokens=[(tokens[bos], bos)]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=tokens[bos], eos_token=tokens[eos])
    weights = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return HFLM(pretrained=weights, tokenizer=fast, device="cpu", batch_size=32, max_length=max_length)


def answers(lm: Any, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    """What a backend gives pairs directly."""
    return lm.loglikelihood([SimpleNamespace(args=pair) for pair in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--figure", type=Path, help="an HTML file for a picture of the items' margins")
    parser.add_argument("--tasks", type=Path, default=Path("lm_eval_tasks"), help="the folder for the task files")
    arguments = parser.parse_args()
    names = write(arguments.tasks, demo.CORPUS)
    backends = {
        "hf": hf_model(arguments.model, arguments.max_length),
        "ppldelta": PpldeltaLM(str(arguments.model), n_ctx=arguments.max_length, store=False),
    }

    odd = {name: answers(lm, ODD) for name, lm in backends.items()}
    for pair, a, b in zip(ODD, odd["hf"], odd["ppldelta"], strict=True):
        n_tokens = max(1, len(pair[1].split()))
        print(
            f"{a[0] - b[0]:+9.5f} of {a[0]:10.4f} nats  greedy {a[1]!s:5} {b[1]!s:5} {pair[0][-20:]!r} {pair[1][:20]!r}"
        )
        assert abs(a[0] - b[0]) < CLOSE * n_tokens and (a[1] == b[1])

    found: dict[str, Any] = {}
    for name, lm in backends.items():
        started = time.perf_counter()
        manager = TaskManager(include_path=str(arguments.tasks), include_defaults=False)
        found[name] = lm_eval.simple_evaluate(
            model=lm, tasks=names, task_manager=manager, limit=arguments.limit, log_samples=True, bootstrap_iters=0
        )
        print(f"{name}: {time.perf_counter() - started:.1f} s")
        for task, values in found[name]["results"].items():
            print("  ", task, {key: value for key, value in values.items() if "stderr" not in key})
    n_items = n_other = n_other_norm = 0
    margins: dict[str, list[tuple[float, float]]] = {}
    for task in names:
        both = [found[name]["samples"][task] for name in ("hf", "ppldelta")]
        pairs = list(zip(*([np.array(_logp(each)) for each in samples] for samples in both), strict=True))
        largest = max(float(np.abs(a - b).max()) for a, b in pairs)
        mean = float(np.mean([np.abs(a - b).mean() for a, b in pairs]))
        print(f"{task}: {len(pairs)} items, |difference| of a log-likelihood: mean {mean:.5f}, max {largest:.5f} nats")
        if len(pairs[0][0]) == 1:
            continue
        n_items += len(pairs)
        # acc_norm divides a choice's log-likelihood by its number of characters, without the delimiter before it
        lengths = [[len(choice) for choice in sample["doc"]["choices"]] for sample in both[0]]
        targets = [sample["doc"]["target"] for sample in both[0]]
        for name, answered in zip(("hf", "ppldelta"), zip(*pairs, strict=True), strict=True):
            for rule, per in (("acc", [1.0] * len(lengths)), ("acc_norm", lengths)):
                right = [
                    (a / np.array(n)).argmax() == target for a, n, target in zip(answered, per, targets, strict=True)
                ]
                assert abs(np.mean(right) - found[name]["results"][task][f"{rule},none"]) < 1e-9
        for i, ((a, b), n_letters) in enumerate(zip(pairs, lengths, strict=True)):
            best, second = np.argsort(a)[::-1][:2]
            margins.setdefault(task, []).append((a[best] - a[second], b[best] - b[second]))
            n_other += bool(a.argmax() != b.argmax())
            n_other_norm += bool((a / n_letters).argmax() != (b / n_letters).argmax())
            for rule, per in (("acc", np.ones(len(a))), ("acc_norm", np.array(n_letters, np.float64))):
                one, other = (a / per).argmax(), (b / per).argmax()
                if one != other:
                    between = a[one] - a[other] * per[one] / per[other]
                    print(f"  {rule}, item {i}: {one} and {other}; hf has {between:.5f} nats between them")
                    assert between < CLOSE
    print(f"{n_other} of {n_items} items are answered differently by acc, {n_other_norm} by acc_norm")
    assert max(n_other, n_other_norm) <= 2 * max(1, n_items / 500)
    if arguments.figure:
        figure_of(margins).write_html(arguments.figure, include_plotlyjs=True)


def figure_of(margins: dict[str, list[tuple[float, float]]]) -> go.Figure:
    """How far the backends are apart in an item's margin, against that margin under hf; above the line it flips."""
    figure = go.Figure()
    low, high = 1e-4, 50.0
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", line=dict(color=theme.LIGHT["muted"], dash="dash"), showlegend=False
    )
    for (task, pairs), color in zip(margins.items(), ("gain", "loss"), strict=False):
        hf, ours = np.array(pairs).T
        figure.add_scatter(
            x=hf, y=np.maximum(np.abs(hf - ours), low), mode="markers", name=f"{task} ({len(pairs)})",
            marker=dict(color=theme.LIGHT[color], size=6, opacity=0.7),
        )  # fmt: skip
    figure.update_layout(template="plotly_white", width=720, height=460, margin=dict(l=70, r=20, t=20, b=60))
    for axis, title in (
        (figure.update_xaxes, "margin of the best choice over the second under hf, nats"),
        (figure.update_yaxes, "|margin under hf − under ppldelta|, nats"),
    ):
        axis(type="log", range=np.log10([low, high]), dtick=1, exponentformat="power", title=title)
    return figure


def _logp(sample: dict[str, Any]) -> list[float]:
    """The log-likelihood of each choice, or of the text."""
    given = [each[0] for each in sample["resps"]]
    return [float(each[0] if isinstance(each, (tuple, list)) else each) for each in given]


if __name__ == "__main__":
    main()
