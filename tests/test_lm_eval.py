"""The model class for lm-evaluation-harness; skipped where lm-eval is not installed (`pip install '.[lm-eval]'`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ppldelta
from ppldelta import demo
from ppldelta.engine.native import Model
from ppldelta.errors import PpldeltaError
from ppldelta.likelihood.encoding import encode

pytest.importorskip("lm_eval", reason="lm-eval is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # what the harness and its dependencies warn of is not ours

PAIRS = [
    ("The capital is", " Paris"),
    ("The capital is ", "Paris"),
    ("Two lines\n\n", "and more"),
    ("Half a wor", "d goes on"),
    ("", "From nothing"),
    ("Grüße aus", " Köln – 東京"),
    ("  leading", "  spaces "),
    ("word " * 60, "goes on"),
]


def requests(*arguments: tuple[str, ...]) -> list[SimpleNamespace]:
    return [SimpleNamespace(args=each) for each in arguments]


def of_harness():  # type: ignore[no-untyped-def]
    from lm_eval.api.registry import get_model

    import ppldelta.lm_eval as _  # noqa: F401

    return get_model("ppldelta")


def lm(**settings: object):  # type: ignore[no-untyped-def]
    return of_harness()(path=str(demo.REFERENCE), store=False, **settings)


def test_the_harness_itself_splits_pairs_in_the_same_way() -> None:
    from lm_eval.api.model import TemplateLM

    model = Model(demo.REFERENCE, n_gpu_layers=0)

    class Harness(TemplateLM):  # type: ignore[misc]
        eot_token_id = model.info.eos
        prefix_token_id = model.info.bos

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: object) -> list[int]:
            own = model.tokenize(string.encode()).tolist()
            return own if add_special_tokens is False else [model.info.bos, *own]

        def _loglikelihood_tokens(self, requests, **_):  # type: ignore[no-untyped-def]
            return [(context, continuation) for _, context, continuation in requests]

        loglikelihood_rolling = generate_until = None

    expected = Harness().loglikelihood(requests(*PAIRS), disable_tqdm=True)
    found = encode(PAIRS, lambda texts: [model.tokenize(each) for each in texts], model.info)
    for mine, (context, continuation) in zip(found, expected, strict=True):
        assert mine.tokens[: mine.n_context].tolist() == context
        assert mine.tokens[mine.n_context :].tolist() == continuation


def test_it_answers_as_ppldelta_does() -> None:
    found = lm(n_ctx=64).loglikelihood(requests(*PAIRS), disable_tqdm=True)
    expected = ppldelta.loglikelihood(demo.REFERENCE, PAIRS, n_ctx=64, special=True, store=None, progress=False)
    assert found == list(expected)


def test_rolling_windows_are_those_of_the_harness() -> None:
    model = Model(demo.REFERENCE, n_gpu_layers=0)
    texts = ["A short text.", (demo.CORPUS / "prose" / "plum_dumplings.txt").read_text()[:1500]]
    found = lm(n_ctx=64).loglikelihood_rolling(requests(*((text,) for text in texts)), disable_tqdm=True)
    for text, mine in zip(texts, found, strict=True):
        tokens = [model.info.bos, *model.tokenize(text.encode()).tolist()]  # with BOS, as the hf model's are
        pairs = [([model.info.bos], tokens[:64])]
        at = 64
        while at < len(tokens):
            end = min(len(tokens), at + 64)  # as many as fit behind one token of context
            pairs.append((tokens[end - 65 : at], tokens[at:end]))
            at = end
        expected = ppldelta.loglikelihood(demo.REFERENCE, pairs, n_ctx=64, store=None, progress=False)
        assert mine == pytest.approx(sum(logp for logp, _ in expected), abs=1e-9)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(PpldeltaError, match="generates none"):
        lm().generate_until(requests(("a", "b")))
    with pytest.raises(PpldeltaError, match="chat templates are not applied"):
        lm().apply_chat_template([{"role": "user", "content": "a"}])


def test_what_model_args_lack_or_have_too_much_is_said() -> None:
    with pytest.raises(PpldeltaError, match=r"names `foo`, which ppldelta does not know\nhint: .*path=MODEL\.gguf"):
        of_harness().create_from_arg_string("path=m.gguf,foo=1", {"batch_size": 1, "device": None})
    with pytest.raises(PpldeltaError, match="names no model\nhint: "):
        of_harness().create_from_arg_string("", {"batch_size": 1})
    with pytest.raises(PpldeltaError, match="must be a token of the vocabulary"):
        lm(prefix_token_id=10**9).loglikelihood_rolling(requests(("a",)))


def test_a_task_file_runs_on_the_command_line(tmp_path: Path) -> None:
    rows = [{"text": f"{i} and", "choices": [str(i + 1), "x"], "target": 0} for i in range(4)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "task.yaml").write_text(
        f"task: counting\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {data}\ntest_split: test\n"
        'output_type: multiple_choice\ndoc_to_text: "{{text}}"\ndoc_to_choice: "{{choices}}"\n'
        'doc_to_target: "{{target}}"\nmetric_list:\n  - metric: acc\n'
    )
    command = [sys.executable, "-m", "ppldelta.lm_eval", "run", "--model", "ppldelta", "--tasks", "counting"]
    command += ["--model_args", f"path={demo.REFERENCE},store=False,threads=1", "--include_path", str(tmp_path)]
    command += ["--output_path", str(tmp_path / "out"), "--log_samples"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [results] = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(results.read_text())
    assert len(found["config"]["model_sha256"]) == 64 and "n_ctx:2048" in found["config"]["signature"]
    [samples] = (tmp_path / "out").rglob("samples_*.jsonl")
    for line, row in zip(samples.read_text().splitlines(), rows, strict=True):
        sample = json.loads(line)
        pairs = [(row["text"], f" {choice}") for choice in row["choices"]]
        expected = ppldelta.loglikelihood(demo.REFERENCE, pairs, special=True, store=None, progress=False)
        logp = np.array([float(each[0][0]) for each in sample["resps"]])
        assert logp == pytest.approx([each for each, _ in expected], abs=1e-5)
