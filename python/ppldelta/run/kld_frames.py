"""Comparisons with a `.kld` file as the frames of a result: each chunk is a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta import schema
from ppldelta.family import Family, ModelFacts
from ppldelta.records.kld import KldFile
from ppldelta.records.rows import Values
from ppldelta.result import Result, make_result
from ppldelta.wording.names import as_utf8


@dataclass(frozen=True, eq=False)
class Compared:
    """One comparison: what is known of it, and its values of each scored token.

    The values bear the names of `schema.TOKENS`; beside them are those that only `records.rows` has, such as `top_ref`.
    """

    facts: ModelFacts
    values: Values


@dataclass(frozen=True, eq=False)
class Pieces:
    """How the tokens of a file are read: the bytes of each, empty where no tokenizer is at hand.

    Attributes:
        tokens: every token that occurs, once, ascending, int32 of shape [n].
        pieces: the bytes of each.
        n_bos: how many tokens of the first chunk stand before the text, 0 or 1.
    """

    tokens: NDArray[np.int32]
    pieces: Sequence[bytes]
    n_bos: int = 0

    @classmethod
    def unknown(cls, file: KldFile) -> Pieces:
        """Of a file whose tokenizer nobody knows."""
        tokens = np.unique(file.tokens)
        return cls(tokens, [b""] * len(tokens))


def facts_of_file(label: str, file: KldFile) -> ModelFacts:
    """What is known of a model of which there is only a `.kld` file."""
    return ModelFacts(
        label=label,
        path=as_utf8(file.path),
        sha256=None,
        bits_per_weight=None,
        architecture=None,
        name=None,
        file_type=None,
        n_vocab=file.n_vocab,
        n_ctx_train=None,
        n_params=None,
        size_bytes=None,
        bos=None,
        eos=None,
        add_bos=None,
        add_eos=None,
        recurrent=None,
        time_s=None,
    )


def as_result(
    file: KldFile, family: Family, compared: Sequence[Compared], known: Pieces, warnings: list[str]
) -> Result:
    """A result of one family, whose documents are called `chunk 0001` and so on.

    Args:
        file: the reference's.
        family: its models are those of `compared`.
        compared: the comparisons.
        known: the tokens' bytes.
        warnings: sentences for the reader.
    """
    digits = max(4, len(str(file.n_chunks)))
    names = [f"chunk {i + 1:0{digits}}" for i in range(file.n_chunks)]
    texts = [list(file.tokens[0, known.n_bos :]), *map(list, file.tokens[1:])]
    corpus = pl.DataFrame(
        {
            "family": [family.name] * len(names),
            "document": names,
            "category": [""] * len(names),
            "n_tokens": list(map(len, texts)),
        },
        schema=schema.CORPUS,
    )
    whole = pl.DataFrame(
        {
            "family": corpus["family"],
            "document": corpus["document"],
            "tokens": pl.Series(texts, dtype=schema.TEXTS["tokens"]),
        },
        schema=schema.TEXTS,
    )
    pieces = pl.DataFrame(
        {
            "family": [family.name] * len(known.tokens),
            "token": known.tokens,
            "piece": pl.Series(known.pieces, dtype=pl.Binary()),
        },
        schema=schema.PIECES,
    )
    tokens = pl.concat([_records(file, family.name, each, names, known) for each in compared])
    return make_result(tokens, pieces, corpus, whole, [family], warnings)


def _records(file: KldFile, family: str, compared: Compared, names: Sequence[str], known: Pieces) -> pl.DataFrame:
    """One row per scored token, as `schema.TOKENS`; null where a column is not known."""
    documents = pl.Series("document", names, dtype=schema.NAMES)
    pos = np.tile(np.arange(file.first + 1, file.n_ctx, dtype=np.int64), (file.n_chunks, 1))
    pos[0] -= known.n_bos
    values = dict(compared.values)
    values["delta"] = np.subtract(*(values[name].astype(np.float32) for name in ("logp_cmp", "logp_ref")))
    if "top_cmp" in values:
        values["same_top"] = values["top_ref"] == values["top_cmp"]
    start, end = _bytes(file, known)
    given: dict[str, pl.Series | pl.Expr] = {
        "family": pl.lit(family, dtype=schema.NAMES),
        "model": pl.lit(compared.facts.label, dtype=schema.NAMES),
        "document": documents.gather(np.repeat(np.arange(file.n_chunks, dtype=np.uint32), file.n_scored)),
        "pos": pl.Series(pos.reshape(-1)),
        "token": pl.Series(file.targets.reshape(-1)),
        "byte_start": start,
        "byte_end": end,
        "n_tokens_ref": pl.lit(1),
        "n_tokens_cmp": pl.lit(1),
    }
    given |= {name: pl.Series(each) for name, each in values.items()}
    n = file.targets.size
    return pl.DataFrame({"pos": given["pos"]}).select(
        (given[name] if name in given else pl.repeat(None, n, dtype=dtype)).cast(dtype).alias(name)
        for name, dtype in schema.TOKENS.items()
    )


def _bytes(file: KldFile, known: Pieces) -> tuple[pl.Series, pl.Series]:
    """Which bytes of its chunk's text each scored token covers; null where no token has any."""
    if not any(known.pieces):
        nothing = pl.repeat(None, file.targets.size, dtype=pl.UInt32, eager=True)
        return nothing, nothing
    lengths = np.array([len(piece) for piece in known.pieces])[np.searchsorted(known.tokens, file.tokens)]
    lengths[0, : known.n_bos] = 0
    ends = np.cumsum(lengths, axis=1)
    starts = ends - lengths
    return pl.Series(starts[:, file.first + 1 :].reshape(-1)), pl.Series(ends[:, file.first + 1 :].reshape(-1))
