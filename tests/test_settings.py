"""The settings stand once: what is derived from them agrees with them, and what they decide is what they say."""

from __future__ import annotations

import inspect
import re
import runpy
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

import ppldelta
from conftest import llama_perplexity
from ppldelta import demo
from ppldelta.commands.arguments import parser
from ppldelta.engine.loaded import ContextSize
from ppldelta.engine.native import Build, Model, ModelInfo, build
from ppldelta.run.keys import engine_of
from ppldelta.run.limits import N_SEQ_MAX_GPU
from ppldelta.run.settings import SETTINGS, ResolvedSettings, Settings

ROOT = Path(__file__).parents[1]
NAMES = [each.name for each in fields(Settings)]
CPU = Build(
    version="1.2", llama_cpp_commit="abc", patches_hash="def", gpu=False, devices=("CPU: Some CPU",),
    kernels="CPU[FMA]", system="",
)  # fmt: skip
GPU = replace(CPU, gpu=True, devices=("CUDA0: Some GPU", "CPU: Some CPU"), kernels="CUDA0[Some GPU]+CPU[FMA]")
RESOLVED = ResolvedSettings(
    windows="every",
    n_ctx=512,
    max_windows=3,
    n_ubatch=64,
    n_outputs_max=32,
    n_seq_max=2,
    n_gpu_layers=7,
    threads=5,
    align="tokens",
    kld=False,
    top_k=0,
    noise_floor=False,
    kind="auto",
    chat_template=False,
)


@pytest.fixture(scope="module")
def info() -> ModelInfo:
    return Model(demo.REFERENCE, vocab_only=True).info


# --- what agrees with them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [ppldelta.score, ppldelta.plan])
def test_keyword_arguments_are_the_settings(function: object) -> None:
    """Names, order, defaults and annotations: each of them is a field, and what follows is no setting."""
    found = list(inspect.signature(function).parameters.values())
    keywords = [each for each in found if each.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [each.name for each in keywords[len(NAMES) :]] == ["store", "rpc", "executor", "progress"]
    for argument, each in zip(keywords, fields(Settings), strict=False):
        assert (argument.name, argument.default, argument.annotation) == (each.name, each.default, each.type)


@pytest.mark.parametrize("function", [ppldelta.score, ppldelta.plan])
@pytest.mark.parametrize("name", NAMES)
def test_every_argument_reaches_its_setting(function: object, name: str) -> None:
    with pytest.raises(ppldelta.PpldeltaError, match=f"^`{name}` must be .*, got <object"):
        function({"a": "text"}, "no.gguf", "no.gguf", **{name: object()})


def test_flags_are_the_settings() -> None:
    arguments = ["score", "x", "--ref", "r", "--cmp", "c"]
    options = parser().parse_args(arguments)
    for each in fields(Settings):
        known = SETTINGS[each.name]
        assert getattr(options, each.name) == each.default
        if each.default is False:
            assert getattr(parser().parse_args([*arguments, *known.flags]), each.name) is True
            continue
        for flag in known.flags:
            for value in known.choices or (known.least, known.most or 10**9):
                assert getattr(parser().parse_args([*arguments, flag, str(value)]), each.name) == value
            for word in known.words:
                assert getattr(parser().parse_args([*arguments, flag, word]), each.name) is each.default
            for wrong in ("no", str(known.least - 1), *([str(known.most + 1)] if known.most else [])):
                with pytest.raises(SystemExit):
                    parser().parse_args([*arguments, flag, wrong])


def test_flags_are_those_of_llama_cpp() -> None:
    """One flag of llama.cpp's bears all names that we give a setting; the others are ours alone."""
    theirs = [set(re.findall(r"(?<![\w-])--?[a-z-]+", line)) for line in llama_perplexity("--help").stdout.splitlines()]
    ours = {name: set(SETTINGS[name].flags) for name in NAMES}
    assert [name for name, flags in ours.items() if not any(flags <= line for line in theirs)] == [
        *("windows", "align", "kld", "noise_floor", "kind", "chat_template")
    ]


def test_the_page_of_settings_is_current() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))["page"]()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page, "run docs/make_settings.py"
    for name in SETTINGS:
        assert page.count(f"| `{name}` |") == 1


def test_a_worker_s_context_is_made_from_them() -> None:
    context = RESOLVED.context
    assert not context.bf16, "which is no setting: only the noise floor asks for it"
    for each in fields(ContextSize)[:-1]:
        assert getattr(context, each.name) == getattr(RESOLVED, each.name)


def test_what_the_scorer_fixes_is_what_they_say() -> None:
    scorer = (ROOT / "cpp" / "scorer.cpp").read_text()
    types = re.findall(r"p\.type_[kv] += GGML_TYPE_(\w+);", scorer)
    assert [each.lower() for each in types] == [RESOLVED.kv] * 2
    assert re.findall(r"params\.flash \? LLAMA_FLASH_ATTN_TYPE_(\w+) :", scorer) == [RESOLVED.flash_attn.upper()]
    assert re.findall(r"p\.swa_full +=  *(\w+);", scorer) == [RESOLVED.swa_full]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("windows", 5, "`windows` must be a str, got 5 (int)"),
        ("windows", "", "`windows` must be one of `every`, `perplexity`, got ``"),
        ("windows", "strided", "`windows` must be one of `every`, `perplexity`, got `strided`"),
        ("kind", None, "`kind` must be a str, got None (NoneType)"),
        ("n_ctx", "512", "`n_ctx` must be a whole number, got '512' (str)"),
        ("n_ctx", 3, "`n_ctx` must be at least 4, got 3"),
        ("n_ctx", 2**31, "`n_ctx` must lie between 4 and 2147483647, got 2147483648"),
        ("max_windows", True, "`max_windows` must be a whole number, got True (bool)"),
        ("max_windows", 0, "`max_windows` must be at least 1, got 0"),
        ("n_ubatch", None, "`n_ubatch` must be a whole number, got None (NoneType)"),
        ("n_ubatch", 3, "`n_ubatch` must lie between 4 and 65536, got 3"),
        ("n_ubatch", 65537, "`n_ubatch` must lie between 4 and 65536, got 65537"),
        ("threads", 1.5, "`threads` must be a whole number, got 1.5 (float)"),
        ("threads", 0, "`threads` must lie between 1 and 512, got 0"),
        ("kld", 1, "`kld` must be True or False, got 1 (int)"),
        ("noise_floor", None, "`noise_floor` must be True or False, got None (NoneType)"),
        ("n_gpu_layers", -2, "`n_gpu_layers` must lie between -1 and 2147483647, got -2"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ppldelta.PpldeltaError) as caught:
        Settings(**{name: value})
    assert caught.value.message == message
    if "between" in message:
        assert (
            caught.value.hint
            == f"if you leave it out, {'it is 256' if name == 'n_ubatch' else 'a usual value stands for it'}"
        )


def test_what_is_right_is_taken() -> None:
    assert Settings(n_ctx=np.int64(4), max_windows=10**12, n_gpu_layers=-1, threads=np.uint8(1)).n_ctx == 4


@pytest.mark.parametrize(("name", "value"), [("n_seq_max", 257), ("n_seq_max", 0), ("n_outputs_max", 2**16 + 1)])
def test_resolved_values_have_ranges_too(name: str, value: int) -> None:
    known = SETTINGS[name]
    with pytest.raises(ppldelta.PpldeltaError, match=f"between {known.least} and {known.most}, got {value}"):
        replace(RESOLVED, **{name: value})


def test_a_training_context_that_is_no_window_is_refused(info: ModelInfo) -> None:
    with pytest.raises(ppldelta.PpldeltaError, match="`n_ctx` must be at least 4, got 1"):
        Settings().resolve(replace(info, n_ctx_train=1), CPU)


# --- what they mean for a model and a build ---------------------------------------------------------------------------


def test_nothing_asked_for_is_resolved_from_the_model_and_the_build(info: ModelInfo) -> None:
    on_cpu = {
        "windows": "every", "n_ctx": 2048, "max_windows": None, "n_ubatch": 256, "n_outputs_max": 128,
        "n_seq_max": 1, "kv": "f16", "flash_attn": "auto", "swa_full": "false", "n_gpu_layers": 0,
        "threads": None, "align": "tokens", "kld": False, "top_k": 0, "noise_floor": False, "kind": "auto",
            "chat_template": False,
    }  # fmt: skip
    on_gpu = on_cpu | {"n_outputs_max": 256, "n_seq_max": N_SEQ_MAX_GPU, "n_gpu_layers": -1}
    assert info.n_ctx_train == 2048
    assert asdict(Settings().resolve(info, CPU)) == on_cpu
    assert asdict(Settings().resolve(info, GPU)) == on_gpu
    assert Settings().resolve(replace(info, n_ctx_train=10**6), CPU).n_ctx == 8192


def test_on_the_cpu_a_micro_batch_has_at_most_128_scored_tokens(info: ModelInfo) -> None:
    assert Settings(n_ubatch=512).resolve(info, CPU).n_outputs_max == 128
    assert Settings(n_ubatch=64).resolve(info, CPU).n_outputs_max == 64
    assert Settings(n_ubatch=512).resolve(info, GPU).n_outputs_max == 512
    assert Settings(n_gpu_layers=0).resolve(info, GPU).n_outputs_max == 128


def test_only_a_gpu_and_no_state_means_packing(info: ModelInfo) -> None:
    assert Settings(n_gpu_layers=3).resolve(info, CPU).n_seq_max == 1
    assert Settings(n_gpu_layers=3).resolve(info, GPU).n_seq_max == N_SEQ_MAX_GPU
    assert Settings(n_gpu_layers=0).resolve(info, GPU).n_seq_max == 1
    assert Settings().resolve(replace(info, recurrent=True), GPU).n_seq_max == 1
    assert Settings(n_ctx=16).resolve(info, GPU).n_seq_max == 16


# --- what they decide -------------------------------------------------------------------------------------------------


def test_the_signature_is_all_that_decides_the_numbers() -> None:
    """Stores and saved results hold this line; another one makes them strangers."""
    assert str(RESOLVED.signature(GPU)) == (
        "ppldelta:1.2|llama.cpp:abc|patches:def|windows:every|n_ctx:512|max_windows:3|n_ubatch:64|n_outputs_max:32|"
        "n_seq_max:2|kv:f16|flash_attn:auto|swa_full:false|n_gpu_layers:7|backend:CUDA0+CPU|"
        "kernels:CUDA0[Some GPU]+CPU[FMA]"
    )
    everything = replace(RESOLVED, max_windows=None, n_gpu_layers=-1)
    assert "|max_windows:all|" in str(everything.signature(GPU))
    assert "|n_gpu_layers:all|" in str(everything.signature(GPU))
    assert "|n_gpu_layers:0|backend:CPU|kernels:CPU[FMA]" in str(replace(RESOLVED, n_gpu_layers=0).signature(CPU))


def test_the_store_s_key_is_the_signature_without_what_chooses_windows() -> None:
    assert engine_of(RESOLVED, CPU) == str(replace(RESOLVED, max_windows=None).signature(CPU))


def test_a_run_carries_its_signature(demo_result: ppldelta.Result, info: ModelInfo) -> None:
    assert str(demo_result.signature) == str(Settings().resolve(info, build()).signature(build()))


@pytest.mark.parametrize("each", [each for each in fields(ResolvedSettings) if each.init], ids=lambda each: each.name)
def test_each_decides_what_it_says(each: object) -> None:
    names = {"windows": "perplexity", "align": "bytes", "kind": "quant"}
    other = replace(RESOLVED, **{each.name: names.get(each.name, 100)})
    decides = SETTINGS[each.name].decides
    assert (other.signature(CPU) != RESOLVED.signature(CPU)) == (decides in ("numbers", "tokens"))
    assert (engine_of(other, CPU) != engine_of(RESOLVED, CPU)) == (decides == "numbers")


def test_what_is_asked_for_has_defaults_and_what_is_resolved_has_none() -> None:
    assert all(each.default is not MISSING for each in fields(Settings))
    assert all(each.default is MISSING for each in fields(ResolvedSettings) if each.init)
    assert set(NAMES) < {each.name for each in fields(ResolvedSettings)} == set(SETTINGS)
