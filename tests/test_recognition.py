"""Quants are recognised by their weights, whatever they are called, and nothing else is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

import ppldelta
from helpers import tiny_models
from ppldelta import _core, demo
from ppldelta.engine import recognition
from ppldelta.engine.loaded import PinnedSource
from ppldelta.engine.recognition import Recognition
from ppldelta.engine.tensors import Tensor, rounded, rows, tensors_of
from ppldelta.errors import ModelError, PpldeltaError
from ppldelta.models.source import Adapter, ModelSource
from ppldelta.store.store import Store

CODE, MULTILINGUAL, QUANT = demo.COMPARISONS
Values = np.ndarray
Change = Callable[[str, Values], Values]


def recognise(reference: Path | ModelSource, comparison: Path | ModelSource) -> Recognition:
    sources = [each if isinstance(each, ModelSource) else ModelSource(each) for each in (reference, comparison)]
    return recognition.recognise(*(PinnedSource.of(each, None) for each in sources))


def write(
    path: Path,
    source: Path = demo.REFERENCE,
    *,
    type: str | Callable[[str], str] = "q8_0",
    change: Change = lambda name, values: values,
    leave_out: str = "",
    only: str = "",
    more: dict[str, tuple[int, ...]] | None = None,
) -> Path:
    """The tensors of a model, changed, in other types; only the tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, tensor in tensors_of([source]).items():
        if (leave_out and leave_out in name) or only not in name:
            continue
        values = np.ascontiguousarray(change(name, rows(tensor, np.arange(tensor.n_rows), tensor.n_columns)))
        if tensor.n_rows == 1:
            writer.add_tensor(name, values[0])
            continue
        own = type if isinstance(type, str) else type(name)
        raw = _core.quantize(own, values).reshape(len(values), -1)
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType[own.upper()])
    for name, shape in (more or {}).items():
        writer.add_tensor(name, np.ones(shape, np.float32))
    tiny_models.save(writer)
    return path


def noise(part: float) -> Change:
    rng = np.random.default_rng(3)

    def changed(name: str, values: Values) -> Values:
        if len(values) == 1:
            return values
        return values + np.float32(part * values.std()) * rng.standard_normal(values.shape, np.float32)

    return changed


def rank_one(part: float) -> Change:
    """A LoRA of rank 1 on two of the projections, merged."""
    rng = np.random.default_rng(4)

    def changed(name: str, values: Values) -> Values:
        if not ("attn_q" in name or "attn_v" in name):
            return values
        more = np.outer(rng.standard_normal(len(values)), rng.standard_normal(values.shape[1]))
        return (values + part * values.std() / more.std() * more).astype(np.float32)

    return changed


def test_the_demo_has_two_finetunes_and_a_quant() -> None:
    assert [recognise(demo.REFERENCE, each).kind for each in demo.COMPARISONS] == ["finetune", "finetune", "quant"]
    assert recognise(QUANT, demo.REFERENCE).kind == "quant", "the other way round as well"
    assert "`blk.0.attn_norm.weight`, which quantising leaves alone" in recognise(demo.REFERENCE, CODE).reason
    assert "20 tensors, whose weights differ by 30 %" in recognise(demo.REFERENCE, QUANT).reason


@pytest.mark.parametrize(
    "type", ["q2_K", "q3_K", "q4_0", "q4_K", "q5_1", "q6_K", "iq4_nl", "iq4_xs", "mxfp4", "tq1_0", "f16", "bf16", "f32"]
)
def test_every_type_is_a_quant_of_the_same_weights(type: str, tmp_path: Path) -> None:
    assert recognise(demo.REFERENCE, write(tmp_path / "m.gguf", type=type)).kind == "quant"
    assert recognise(tmp_path / "m.gguf", demo.REFERENCE).kind == "quant"


def test_types_may_differ_from_tensor_to_tensor(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.gguf", type=lambda name: "q2_K" if "ffn" in name else "q4_K" if "attn" in name else "q6_K"
    )
    assert recognise(demo.REFERENCE, path).kind == "quant"
    assert recognise(write(tmp_path / "ref.gguf", type="q3_K"), path).kind == "quant"


@pytest.mark.parametrize("type", ["q8_0", "q6_K"])
@pytest.mark.parametrize("change", [noise(0.05), rank_one(0.05)], ids=["noise", "rank one"])
def test_light_finetunes_are_none(type: str, change: Change, tmp_path: Path) -> None:
    found = recognise(demo.REFERENCE, write(tmp_path / "m.gguf", type=type, change=change))
    assert found.kind == "finetune" and "of which rounding to" in found.reason


def test_a_change_below_the_rounding_is_seen_where_it_has_a_direction(tmp_path: Path) -> None:
    found = recognise(demo.REFERENCE, write(tmp_path / "m.gguf", type="q4_K", change=rank_one(0.06)))
    assert found.kind == "finetune" and "in one direction" in found.reason
    assert recognise(demo.REFERENCE, write(tmp_path / "m.gguf", type="q4_K", change=noise(0.02))).kind == "quant", (
        "what has none is not seen: docs/quants.md says so"
    )


def test_a_norm_alone_tells(tmp_path: Path) -> None:
    def changed(name: str, values: Values) -> Values:
        return values * np.float32(1.001) if name == "output_norm.weight" else values

    found = recognise(demo.REFERENCE, write(tmp_path / "m.gguf", type="q4_K", change=changed))
    assert found.kind == "finetune" and "`output_norm.weight`" in found.reason and "0.1 %" in found.reason


def test_norms_that_were_rounded_are_the_same(tmp_path: Path) -> None:
    def as_bf16(name: str, values: Values) -> Values:
        return rounded(values, "bf16") if len(values) == 1 else values

    assert recognise(demo.REFERENCE, write(tmp_path / "m.gguf", change=as_bf16)).kind == "quant"


def test_other_tensors_and_other_shapes_are_none(tmp_path: Path) -> None:
    found = recognise(demo.REFERENCE, write(tmp_path / "m.gguf", more={"blk.0.attn_q.bias": (4,)}))
    assert found == Recognition("finetune", "it has 1 tensor that the reference lacks, such as `blk.0.attn_q.bias`")
    found = recognise(demo.REFERENCE, write(tmp_path / "m.gguf", leave_out="blk.1."))
    assert found.kind == "finetune" and "less than the reference" in found.reason
    found = recognise(
        demo.REFERENCE, write(tmp_path / "m.gguf", change=lambda name, values: values[: len(values) // 2 + 1])
    )
    assert found.kind == "finetune" and "has the shape" in found.reason
    assert recognise(demo.REFERENCE, write(tmp_path / "m.gguf", more={"rope_freqs.weight": (4,)})).kind == "quant"


def test_a_head_of_its_own_is_compared_with_the_embedding(tmp_path: Path) -> None:
    embedding = tensors_of([demo.REFERENCE])["token_embd.weight"]
    values = rows(embedding, np.arange(embedding.n_rows), embedding.n_columns)
    for part, kind in ((0.0, "quant"), (0.1, "finetune")):
        path = tmp_path / f"{kind}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        for tensor in tensors_of([demo.REFERENCE]).values():
            writer.add_tensor(tensor.name, rows(tensor, np.arange(tensor.n_rows), tensor.n_columns).squeeze())
        writer.add_tensor("output.weight", noise(part)("output.weight", values) if part else values)
        tiny_models.save(writer)
        assert recognise(demo.REFERENCE, path).kind == recognise(path, demo.REFERENCE).kind == kind


def test_a_model_in_several_files_is_one_model(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
    write(parts[0], type="q4_K", leave_out="blk.1.")
    write(parts[1], type="q4_K", only="blk.1.")
    assert recognise(demo.REFERENCE, parts[0]).kind == "quant"
    write(parts[1], type="q4_K", only="blk.1.", change=noise(0.5))
    assert recognise(demo.REFERENCE, parts[0]).kind == "finetune"


def test_a_model_with_an_adapter_is_a_finetune() -> None:
    source = ModelSource(QUANT, (Adapter(CODE),))
    assert recognise(demo.REFERENCE, source) == Recognition("finetune", "an adapter is applied")


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_architectures_with_all_kinds_of_tensors(architecture: str, tmp_path: Path) -> None:
    path = tiny_models.write(tmp_path / "m.gguf", architecture)
    assert recognise(path, path) == recognise(path, shutil.copy(path, tmp_path / "copy.gguf"))
    assert "with the same values" in recognise(path, path).reason
    assert recognise(path, tiny_models.write(tmp_path / "other.gguf", architecture, seed=1)).kind == "finetune"


def test_a_file_that_ends_too_early_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(QUANT.read_bytes()[:-200_000])
    with pytest.raises(ModelError, match="cannot read"):
        recognise(demo.REFERENCE, path)
    with pytest.raises(ModelError, match="not a GGUF"):
        tensors_of([Path(__file__)])


def test_values_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    def broken(name: str, values: Values) -> Values:
        return values * np.float32(np.inf) if name == "output_norm.weight" else values

    with pytest.raises(ModelError, match=r"`output_norm.weight` of .* holds values that are not finite"):
        recognise(demo.REFERENCE, write(tmp_path / "m.gguf", change=broken))


def test_the_tensors_that_are_looked_at_are_some_of_each_kind() -> None:
    tensors = [
        Tensor(f"blk.{layer}.{name}", "f32", 4, 4, "4x4", Path(), 0) for layer in range(30) for name in ("a", "b", "c")
    ]
    chosen = recognition._sample((each, each) for each in tensors)
    assert sorted(a.name[-1] for a, _ in chosen) == ["a", "a", "b", "b", "c", "c"]


# --- in a run --------------------------------------------------------------------------------------------------------


def facts(result: ppldelta.Result) -> list[tuple[str | None, str | None]]:
    return [(each.kind, each.kind_reason) for each in result.families[0].cmp]


def test_a_run_says_what_was_recognised_and_a_rerun_remembers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"ref": demo.REFERENCE, "cmp": [CODE, QUANT], "n_ctx": 128, "store": tmp_path / "store.sqlite"}
    result = ppldelta.score({"a.txt": "Some words of a text. " * 20}, **arguments)
    assert [kind for kind, _ in facts(result)] == ["finetune", "quant"]
    assert result.families[0].ref.kind is None and result.families[0].quants == ["tiny-ref.Q2_K"]
    said = capsys.readouterr().err
    assert "tiny-ref.Q2_K: a quant of the reference (the same 20 tensors" in said
    assert "tiny-code.Q8_0: a finetune, and no quant of the reference (" in said
    assert (
        facts(result)[1][1]
        == "A quant of the reference (" + said.split("a quant of the reference (")[1].split("\n")[0] + "."
    )
    assert facts(ppldelta.load(result.save(tmp_path / "out"))) == facts(result)

    monkeypatch.setattr("ppldelta.engine.remote.RemoteModel.recognise", lambda *_: pytest.fail("recognised again"))
    assert facts(ppldelta.score({"a.txt": "Some words of a text. " * 20}, **arguments)) == facts(result)


def test_the_user_has_the_last_word(tmp_path: Path) -> None:
    for kind in ("quant", "finetune"):
        result = ppldelta.score({"a.txt": "Some words. " * 40}, demo.REFERENCE, CODE, n_ctx=128, store=None, kind=kind)
        assert facts(result)[0][0] == kind and "as `kind` says" in (facts(result)[0][1] or "")
    with pytest.raises(PpldeltaError, match="`kind` must be one of `auto`, `quant`, `finetune`, got `lora`"):
        ppldelta.score({"a.txt": "Some words. " * 40}, demo.REFERENCE, CODE, kind="lora")


def test_a_copy_is_a_quant(tmp_path: Path) -> None:
    copy = shutil.copy(demo.REFERENCE, tmp_path / "copy.gguf")
    result = ppldelta.score({"a.txt": "Some words. " * 40}, demo.REFERENCE, copy, n_ctx=128, store=None)
    assert facts(result) == [("quant", "A quant of the reference (it has the same content).")]


def test_weights_that_cannot_be_compared_leave_the_kind_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Recognition:
        raise ModelError("no luck")

    monkeypatch.setattr("ppldelta.engine.remote.RemoteModel.recognise", fails)
    result = ppldelta.score({"a.txt": "Some words. " * 40}, demo.REFERENCE, QUANT, n_ctx=128, store=None)
    assert facts(result) == [(None, "Not known to be a quant, and told as a finetune (no luck).")]


def test_another_rule_decides_again(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        store.notes.note_kind("ab" * 32, "cd" * 32, 1, "quant", "because")
        assert store.notes.kind("ab" * 32, "cd" * 32, 1) == ("quant", "because")
        assert store.notes.kind("ab" * 32, "cd" * 32, 2) is None
        assert store.notes.kind("cd" * 32, "ab" * 32, 1) is None
