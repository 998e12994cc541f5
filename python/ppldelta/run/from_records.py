"""Comparisons with a reference of which there is only a `.kld` file: models, and further files of the same tokens.

Models are evaluated by the package's llama-perplexity (`kld_models`), which gives of each token the log-probabilities
and the divergence; what the reference's rows alone say is read here. Two files are compared with no model, and then all
is known that lockstep knows, as far as 16 bits carry it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np

from ppldelta._load import __version__
from ppldelta.console.progress import line, meter
from ppldelta.engine import native
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.rpc import endpoints
from ppldelta.engine.session import Session
from ppldelta.errors import ModelError, PpldeltaError, RecordsError
from ppldelta.family import Family, ModelFacts, Signature, today
from ppldelta.models.references import LabelledSource, ModelLike, resolve_all
from ppldelta.records.kld import STEP, KldFile, read_kld
from ppldelta.records.rows import Values, joined, of_both, of_one, require_same_tokens
from ppldelta.result import Result
from ppldelta.run import cautions, checks, kld_models
from ppldelta.run.evaluation import facts_of
from ppldelta.run.job import opened_store
from ppldelta.run.kinds import as_sentence, as_set
from ppldelta.run.kld_frames import Compared, Pieces, as_result, facts_of_file
from ppldelta.run.memory import Memory
from ppldelta.run.request import hub_of_run
from ppldelta.run.settings import Settings
from ppldelta.store.hashes import Hashes
from ppldelta.surroundings import need_threads_of_polars, need_working_folder
from ppldelta.wording.names import counted, printable


@dataclass(eq=False)
class _Run:
    """What there is to compare, and what has become of it so far.

    Attributes:
        base: the reference's label and source.
        file: the reference's rows.
        settings: what was asked for.
        progress: whether to show how far it is.
        pieces: the tokens' bytes.
        compared: comparisons that are done, by label.
        failures: what the others failed with, by label.
        build: what evaluates models; None if there are none.
        warnings: sentences for the reader.
    """

    base: LabelledSource
    file: KldFile
    settings: Settings
    progress: bool
    pieces: Pieces
    compared: dict[str, Compared] = field(default_factory=dict)
    failures: dict[str, PpldeltaError] = field(default_factory=dict)
    build: Build | None = None
    warnings: list[str] = field(default_factory=list)


def score_kld(
    ref: ModelLike,
    cmp: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike],
    settings: Settings,
    *,
    store: str | os.PathLike[str] | bool | None = None,
    rpc: str | Iterable[str] | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Result:
    """What `scoring.score` gives without a corpus; it describes arguments and errors."""
    need_threads_of_polars()
    need_working_folder()
    base, *comparisons = resolve_all(ref, cmp, hub_of_run(progress))
    if not base.is_kld:
        raise PpldeltaError(
            f"there is no corpus, and `{printable(base.path)}` is a model",
            hint="name documents to score; only a `.kld` file as `ref` brings its own tokens",
        )
    file = read_kld(base.path)
    kld_models.refuse_settings(file, settings, executor)
    files = {each.label: read_kld(each.path) for each in comparisons if each.is_kld}
    for other in files.values():
        require_same_tokens(file, other)
    run = _Run(base, file, settings, progress, Pieces.unknown(file))
    models = [each for each in comparisons if not each.is_kld]
    if progress:
        line(f"{counted(file.n_chunks, 'chunk')} of {counted(file.n_ctx, 'token')}")
    if models:
        _compare_models(run, models, store, endpoints(rpc))
    for label, other in files.items():
        try:
            values = _of_rows(run, label, other)
            run.compared[label] = Compared(facts_of_file(label, other), values)
        except RecordsError as error:
            run.failures[label] = error
    labels = [each.label for each in comparisons]
    compared = [run.compared[label] for label in labels if label in run.compared]
    if not compared:
        raise next(iter(run.failures.values()))
    run.warnings += [checks.left_out(*failure) for failure in run.failures.items()]
    return as_result(file, _family(run, compared), compared, run.pieces, [_of_16_bits(run), *run.warnings])


def _told(facts: ModelFacts, kind: str) -> ModelFacts:
    """The facts with what the user says that a model is: its weights cannot be compared with those of a file."""
    if kind == "auto":
        return facts
    return replace(facts, kind=kind, kind_reason=as_sentence(as_set(kind)))


def _compare_models(
    run: _Run, sources: list[LabelledSource], store: str | os.PathLike[str] | bool | None, rpc: tuple[str, ...]
) -> None:
    """Has the tool evaluate each of the models; all that can be refused is refused first."""
    with (
        Session(rpc=rpc) as session,
        opened_store(store) as kept,
        Hashes([each.source for each in sources], kept) as hashes,
    ):
        memory = Memory(kept, hashes, run.progress)
        models = [RemoteModel(session, each, n_gpu_layers=run.settings.n_gpu_layers) for each in sources]
        admitted = _admit(run, models)
        if not admitted:
            return
        own = {f"{name}_ref": each for name, each in _of_rows(run, run.base.label).items()}
        logp_ref = own["logp_ref"].astype(np.float32)
        done: dict[str, kld_models.Evaluated] = {}
        for model in admitted:
            try:
                with meter(model.label, run.file.tokens.size, "token", visible=run.progress) as shown:
                    done[model.label] = kld_models.evaluate(
                        *(model, run.file, run.settings, admitted[0].build, logp_ref),
                        rpc=rpc,
                        on_tokens=shown.update,
                    )
            except (ModelError, RecordsError) as error:
                run.failures[model.label] = error
        for model in admitted:  # now that no tool needs the memory
            if evaluated := done.get(model.label):
                try:
                    info = _described(model, memory)
                except ModelError as error:
                    run.failures[model.label] = error
                    continue
                sha256, kernels = memory.sha256(model.source), (model.build.kernels,)
                facts = facts_of(info, model, sha256, kernels, evaluated.time_s)
                run.compared[model.label] = Compared(facts, own | evaluated.values)


def _admit(run: _Run, models: list[RemoteModel]) -> list[RemoteModel]:
    """Those that can be compared; the first says how the tokens are read."""
    admitted: list[RemoteModel] = []
    for model in models:
        try:
            info = kld_models.refuse_model(model, run.file)
        except ModelError as error:
            run.failures[model.label] = error
            continue
        if not admitted:
            run.build = model.build
            tokens = np.unique(run.file.tokens)
            n_bos = int(kld_models.begins_with_bos(run.file, info))
            run.pieces = Pieces(tokens, model.pieces(tokens), n_bos)
            run.warnings += checks.no_device(run.settings, model.build)
        run.warnings += checks.beyond_training(info, model.label, run.file.n_ctx)
        run.warnings += kld_models.other_bos(model.label, info, run.file)
        admitted.append(model)
    run.warnings += cautions.no_pre_tokenizer((model.label, model.info) for model in admitted)
    return admitted


def _described(model: RemoteModel, memory: Memory) -> ModelInfo:
    """What the model says of itself. Its sizes are known only with its weights, unless the store remembers them."""
    sha256 = memory.sha256(model.source)
    if info := memory.description(sha256):
        return info
    info = model.load()
    if memory.store:
        memory.store.notes.describe(sha256, native.release(), dataclasses.asdict(info))
    return info


def _of_rows(run: _Run, label: str, other: KldFile | None = None) -> Values:
    """What the reference's rows say of each scored token, or its rows and those of another file.

    Raises:
        RecordsError: a row cannot be one.
    """
    parts = []
    with meter(label, run.file.targets.size, "token", brief=other is None, visible=run.progress) as shown:
        for chunk in range(run.file.n_chunks):
            parts.append(of_one(run.file, chunk) if other is None else of_both(run.file, other, chunk))
            shown.update(run.file.n_scored)
    return joined(parts)


def _family(run: _Run, compared: list[Compared]) -> Family:
    """The signature has what determines the numbers: of files, nothing but their rows."""
    parts: dict[str, object] = {"ppldelta": __version__, "reference": "kld", "n_ctx": run.file.n_ctx}
    parts["windows"] = "perplexity"
    if build := run.build:
        layers = run.settings.n_gpu_layers
        parts |= {"llama.cpp": build.llama_cpp_commit, "patches": build.patches_hash, "tool": kld_models.TOOL}
        parts |= {"n_batch": run.file.n_ctx, "n_ubatch": run.settings.n_ubatch}
        parts["n_gpu_layers"] = 0 if not build.on_gpu(layers) else "all" if layers in (None, -1) else layers
        parts["backend"] = "+".join(name.split(":")[0] for name in build.devices)
        parts["kernels"] = build.kernels
    return Family(
        name=run.base.label,
        ref=facts_of_file(run.base.label, run.file),
        cmp=tuple(_told(each.facts, run.settings.kind) for each in compared),
        signature=Signature.of(parts),
        system=build.system if build else "",
        devices=build.devices if build else (),
        n_fed=run.file.tokens.size if build else None,
        date=today(),
    )


def _of_16_bits(run: _Run) -> str:
    """What the reader of numbers from a `.kld` file should know."""
    cut = next(iter(run.compared.values())).values["cut_ref"]
    text = (
        f"The reference `{printable(run.base.label)}` is a `.kld` file: its log-probabilities are rounded to 16 bits, "
        f"by up to {STEP / 2:.1e} nats, and cut off 16 nats below each place's most probable token. Divergences lack "
        "what is cut off, and small ones can come out below 0."
    )
    if n_cut := int(np.count_nonzero(cut)):
        text += (
            f" {n_cut:,} of {counted(len(cut), 'scored token')} were cut off: there the reference's log-probability is "
            "too high, so that gain is too small and loss too large."
        )
    if not run.build:
        text += " No tokenizer is at hand: tokens are shown as numbers, and bits per byte are not known."
    return text
