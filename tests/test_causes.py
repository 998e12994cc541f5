"""Models that cannot be scored: each is refused with its cause and the next step, before anything is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

import ppldelta
from conftest import llama_perplexity
from helpers import adapters, encoders, tiny_models
from helpers.tiny_models import N_EMBD, N_HEAD, N_LAYER, Sizes, attention, begin, feed_forward, finish, save
from ppldelta import _core, demo
from ppldelta.engine.causes import CONVERT, DECODER_ONLY, hint_for
from ppldelta.engine.native import Model, Scorer

TEXT = {"a": "The tide was out, and nobody was about. " * 12}
QUIET = {"n_ctx": 128, "progress": False, "store": None}
THIS = f"this llama.cpp ({_core.llama_cpp_commit})"
Change = Callable[[dict[str, gguf.GGUFValue]], object]


def refusal(path: Path) -> ppldelta.ModelError:
    with pytest.raises(ppldelta.ModelError) as caught:
        ppldelta.score(TEXT, path, demo.REFERENCE, **QUIET)
    return caught.value


# --- models that do not read from left to right -----------------------------------------------------------------------


@pytest.mark.parametrize("says_so", [False, True])
@pytest.mark.parametrize("architecture", encoders.ALL)
def test_a_model_that_does_not_read_from_left_to_right(architecture: str, says_so: bool, tmp_path: Path) -> None:
    failure = refusal(encoders.write(tmp_path / "m.gguf", architecture, says_so=says_so))
    assert failure.message == (
        f"`m` does not read from left to right ({architecture}), so its perplexity means nothing"
    )
    assert failure.hint == DECODER_ONLY == "use a decoder-only language model"


def test_as_a_comparison_it_is_left_out_with_its_cause(tmp_path: Path) -> None:
    encoder = encoders.write(tmp_path / "encoder.gguf", "bert")
    good = tiny_models.write(tmp_path / "good.gguf", "llama")
    result = ppldelta.score(TEXT, good, [encoder, good], **QUIET)
    assert result.left_out == {"comparison": ["encoder"]}
    assert result.warnings == [
        "`encoder` does not read from left to right (bert), so its perplexity means nothing; this model is left out "
        "(hint: use a decoder-only language model)."
    ]


def test_against_a_kld_file_too(tmp_path: Path) -> None:
    good = tiny_models.write(tmp_path / "good.gguf", "llama")
    encoder = encoders.write(tmp_path / "encoder.gguf", "gemma-embedding")
    (tmp_path / "text.txt").write_text(TEXT["a"])
    flags = ["-c", 128, "-b", 128, "--save-all-logits", tmp_path / "ref.kld"]
    llama_perplexity("-m", good, "-bf", tmp_path / "text.txt", *flags)
    with pytest.raises(ppldelta.ModelError, match="`encoder` does not read from left to right") as caught:
        ppldelta.score(None, tmp_path / "ref.kld", encoder, progress=False)
    assert DECODER_ONLY in str(caught.value)


def test_a_context_of_one_that_nothing_else_tells_of(tmp_path: Path) -> None:
    """llama.cpp's next kind of encoder: what the loaded model says comes too late for a run, but with its cause."""
    model = Model(encoders.write(tmp_path / "m.gguf", "bert"))
    with pytest.raises(ppldelta.ModelError) as caught:
        Scorer(model, n_ctx=128, n_ubatch=64, threads=1)
    assert caught.value.message.endswith("m.gguf`: the model does not read from left to right")
    assert caught.value.hint == DECODER_ONLY


# --- vocabularies -----------------------------------------------------------------------------------------------------


def write(path: Path, change: Change, *, n_rows: int = 256) -> Path:
    """A llama with another description, or another number of rows in its embedding."""
    writer = begin(path, "llama")
    writer.add_head_count_kv(N_HEAD)
    change(writer.kv_data[0])
    sizes: Sizes = {"token_embd.weight": (n_rows, N_EMBD), "output_norm.weight": (N_EMBD,)}
    for layer in range(N_LAYER):
        sizes |= {f"blk.{layer}.{name}": size for name, size in (attention() | feed_forward()).items()}
    return finish(writer, path, sizes)


def without(key: str) -> Change:
    return lambda description: description.pop(key)


def other(key: str, value: object) -> Change:
    def change(description: dict[str, gguf.GGUFValue]) -> None:
        description[key].value = value

    return change


INCOMPLETE = f"the vocabulary in the file is incomplete or damaged; {CONVERT}"
LOADING = "cannot load the model `{}`: "
VOCABULARY = f"{LOADING}error loading model vocabulary: "


@pytest.mark.parametrize(
    ("change", "said", "hint"),
    [
        (without("tokenizer.ggml.tokens"), "cannot find tokenizer vocab in model file", INCOMPLETE),
        (without("tokenizer.ggml.merges"), "cannot find tokenizer merges in model file", INCOMPLETE),
        (without("tokenizer.ggml.model"), "key not found in model: tokenizer.ggml.model", INCOMPLETE),
        (
            other("tokenizer.ggml.token_type", [1] * 100),
            "Index out of array bounds for toktypes (100 < 256)",
            INCOMPLETE,
        ),
        (
            other("tokenizer.ggml.pre", "my-own"),
            "unknown pre-tokenizer type: 'my-own'",
            f"{THIS} does not know by which rule this vocabulary splits texts; convert the model again with "
            "llama.cpp's converter, which writes `tokenizer.ggml.pre`",
        ),
        (
            other("tokenizer.ggml.model", "wordy"),
            "unknown tokenizer: 'wordy'",
            f"{THIS} does not know this kind of vocabulary",
        ),
    ],
    ids=["no tokens", "no merges", "no kind", "too few types", "unknown rule", "unknown kind"],
)
def test_a_broken_vocabulary(change: Change, said: str, hint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", change)
    failure = refusal(path)
    assert failure.message == VOCABULARY.format(path) + said
    assert failure.hint == hint


@pytest.mark.parametrize(("n_rows", "kind", "n_tokens"), [(320, "gpt2", 256), (200, "gpt2", 256), (256, "none", 0)])
def test_a_vocabulary_of_another_size_than_the_embedding(n_rows: int, kind: str, n_tokens: int, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", other("tokenizer.ggml.model", kind), n_rows=n_rows)
    failure = refusal(path)
    assert failure.message == LOADING.format(path) + (
        "check_tensor_dims: tensor 'token_embd.weight' has wrong shape; "
        f"expected    128, {n_tokens:6}, got    128, {n_rows:6},      1,      1"
    )
    assert (
        failure.hint == f"the file's vocabulary has {n_tokens} tokens, and its embedding rows for {n_rows}; {CONVERT}"
    )


def test_a_vocabulary_that_lacks_tokens_for_bytes(tmp_path: Path) -> None:
    """Of the kind "llama", which falls back to a token for each byte: llama.cpp fails where it first needs one."""
    path = write(tmp_path / "m.gguf", other("tokenizer.ggml.model", "llama"))
    failure = refusal(path)
    assert failure.message.startswith(
        f"the tokenizer of `{path}` fails: llama.cpp looks up a token that the vocabulary "
    )
    assert failure.hint == CONVERT


# --- files that are no model ------------------------------------------------------------------------------------------


def test_an_unknown_architecture(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", other("general.architecture", "another"))
    failure = refusal(path)
    assert failure.message == LOADING.format(path) + "unknown model architecture: 'another'"
    assert failure.hint == (
        f"{THIS} does not know the architecture; a build on a newer one may (`-DPPLDELTA_LLAMA_CPP_DIR`)"
    )


def test_what_belongs_to_a_model(tmp_path: Path) -> None:
    adapter = refusal(adapters.write_lora(tmp_path / "lora.gguf", 1))
    assert adapter.message.endswith("key not found in model: llama.context_length")
    assert "an adapter is named behind its model, as in `base.gguf+lora.gguf`" in adapter.hint
    writer = gguf.GGUFWriter(tmp_path / "mmproj.gguf", "clip")
    writer.add_tensor("v.weight", np.ones(4, np.float32))
    save(writer)
    projector = refusal(tmp_path / "mmproj.gguf")
    assert projector.hint == "this file only reads pictures or sound; name the language model beside it"


def test_a_cause_that_is_not_known_keeps_the_general_hint() -> None:
    assert hint_for("tensor 'blk.0.attn_q.weight' data is not within the file bounds", "look at the file") == (
        "look at the file"
    )
    wrong = "tensor 'token_embd.weight' has wrong shape; expected    128,    256, got     64,    256,      1,      1"
    assert hint_for(wrong, None) is None, "the width differs, not the vocabulary"
    assert "draft model" in (hint_for("gemma4-assistant requires ctx_other to be set (…)", None) or "")
