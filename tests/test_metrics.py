"""Metrics: identities that must hold for any records, one example by hand, and hostile frames."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from helpers.synthetic import ONE_TOKEN, WITHOUT_PAIRS
from ppldelta import schema
from ppldelta.analysis import metrics
from ppldelta.analysis.metrics import document_metrics, model_metrics
from ppldelta.analysis.uncertainty import DOCUMENTS_MIN
from ppldelta.errors import PpldeltaError, ResultError

LN2 = math.log(2)
PIECE = {token: b"x" * (1 + token % 4) for token in range(50)}


def tokens_frame(rows: list[tuple]) -> pl.DataFrame:
    """Records from (family, model, document, token, logp_ref, logp_cmp)."""
    columns = ["family", "model", "document", "token", "logp_ref", "logp_cmp"]
    types = {name: schema.TOKENS[name] for name in columns}
    return (
        pl.DataFrame(rows, schema=types, orient="row")
        .with_columns(
            pos=pl.int_range(pl.len(), dtype=pl.UInt32).over("family", "model", "document"),
            delta=pl.col("logp_cmp") - pl.col("logp_ref"),
            byte_start=pl.lit(None, pl.UInt32),  # not read
            byte_end=pl.lit(None, pl.UInt32),
            kld=(pl.col("logp_cmp") - pl.col("logp_ref")).abs(),  # any numbers
            same_top=pl.col("token") % 3 == 0,
            rank_ref=pl.lit(1, pl.UInt32),  # not read, like all that follow
            rank_cmp=pl.lit(1, pl.UInt32),
            entropy_ref=pl.lit(1, pl.Float32),
            entropy_cmp=pl.lit(1, pl.Float32),
            logp_top_ref=pl.lit(-1, pl.Float32),
        )
        .with_columns(*(pl.lit(None, schema.TOKENS[name]).alias(name) for name in schema.TOPS), *ONE_TOKEN)
        .select(list(schema.TOKENS))
    )


def pieces_frame(families: tuple[str, ...] = ("f",)) -> pl.DataFrame:
    rows = [(family, token, piece) for family in families for token, piece in PIECE.items()]
    return pl.DataFrame(rows, schema=schema.PIECES, orient="row")


def corpus_frame(tokens: pl.DataFrame) -> pl.DataFrame:
    """The documents that occur; the category is the first folder of the name."""
    folder = pl.when(pl.col("document").str.contains("/")).then(pl.col("document").str.split("/").list.first())
    return (
        tokens.select(pl.col("family", "document").cast(pl.String()))
        .unique()
        .with_columns(category=folder.otherwise(pl.lit("")), n_tokens=pl.lit(100, pl.UInt32))
    )


def models_frame(documents: pl.DataFrame, **options: object) -> pl.DataFrame:
    facts = documents.select("family", "model").unique().with_columns(size_bytes=8, bits_per_weight=8.5, n_params=4)
    return model_metrics(documents, facts, **options)


def random_records(seed: int = 0, models: tuple[str, ...] = ("m2", "m1"), n_documents: int = 9) -> pl.DataFrame:
    """Documents of 1 to 60 tokens in three categories; all models have the same tokens and reference."""
    rng = np.random.default_rng(seed)
    rows = []
    texts = []
    for i in range(n_documents):
        n = int(rng.integers(1, 60))
        name = ("a/", "b/", "")[i % 3] + f"{i:03}.txt"
        texts.append((name, rng.integers(0, 50, n).tolist(), (-rng.gamma(1, 3, n)).tolist()))
    for model in models:
        for name, ids, logp_ref in texts:
            shifts = rng.normal(0.1, 1, len(ids)).tolist()
            rows += [
                ("f", model, name, token, logp, min(0.0, logp + shift))
                for token, logp, shift in zip(ids, logp_ref, shifts, strict=True)
            ]
    return tokens_frame(rows)


def documents_of(tokens: pl.DataFrame) -> pl.DataFrame:
    families = tuple(tokens["family"].cast(pl.String()).unique())
    return document_metrics(tokens, pieces_frame(families), corpus_frame(tokens))


def swapped(tokens: pl.DataFrame) -> pl.DataFrame:
    return tokens.with_columns(logp_ref="logp_cmp", logp_cmp="logp_ref", delta=-pl.col("delta"))


BY_HAND = tokens_frame(
    [  # deltas of a/1: +1, -0.5, 0; of b/2: +2. Pieces of tokens 0, 1, 2, 3 have 1, 2, 3, 4 bytes.
        ("f", "m", "a/1", 0, -2.0, -1.0),
        ("f", "m", "a/1", 1, -1.0, -1.5),
        ("f", "m", "a/1", 2, -3.0, -3.0),
        ("f", "m", "b/2", 3, -4.0, -2.0),
    ]
)


def test_documents_by_hand() -> None:
    first, second = documents_of(BY_HAND).to_dicts()
    names = {name: first.pop(name) for name in ("family", "model", "document", "category")}
    assert names == {"family": "f", "model": "m", "document": "a/1", "category": "a"}
    assert first.pop("group") is first.pop("label") is None, "the corpus says nothing of groups"
    others = [name for name in first if name.startswith(("kld", "dp_", "same", "logp_", "ppl_diff"))]
    assert len([first.pop(name) for name in others]) == 32, "`test_tails` looks at them"
    assert first == pytest.approx(
        {
            "n_tokens": 100,
            "n_scored": 3,
            "n_bytes": 6,
            "ppl_ref": math.exp(6 / 3),
            "ppl_cmp": math.exp(5.5 / 3),
            "delta": 0.5 / 3,
            "gain": 1 / 3,
            "loss": 0.5 / 3,
            "ppl_gain": math.exp(-0.5 / 3),
            "ppl_loss": 1.0,
            "bpb_ref": 6 / LN2 / 6,
            "bpb_cmp": 5.5 / LN2 / 6,
            "gain_bpb": 1 / LN2 / 6,
            "loss_bpb": 0.5 / LN2 / 6,
            "delta_bpb": 0.5 / LN2 / 6,
            "damage": 1.5 / 3,
            "damage_bpb": 1.5 / LN2 / 6,
            "ppl_ratio": math.exp(-0.5 / 3),
        },
        rel=1e-14,
    )
    assert (second["gain"], second["loss"], second["n_bytes"]) == (2.0, 0.0, 4)


def test_models_by_hand() -> None:
    models = models_frame(documents_of(BY_HAND))
    by_tokens, by_documents = models.filter(pl.col("category").is_null()).to_dicts()
    expected = {  # 4 tokens, 10 bytes; 10 nats under ref, 7.5 under cmp; deltas +1, -0.5, 0, +2
        "n_documents": 2,
        "n_scored": 4,
        "n_bytes": 10,
        "ppl_ref": math.exp(10 / 4),
        "ppl_cmp": math.exp(7.5 / 4),
        "delta": 2.5 / 4,
        "gain": 3 / 4,
        "loss": 0.5 / 4,
        "ppl_gain": math.exp(-2.5 / 4),
        "ppl_loss": 1.0,
        "bpb_ref": 10 / LN2 / 10,
        "bpb_cmp": 7.5 / LN2 / 10,
        "gain_bpb": 3 / LN2 / 10,
        "loss_bpb": 0.5 / LN2 / 10,
    }
    assert {name: by_tokens[name] for name in expected} == pytest.approx(expected, rel=1e-14)
    expected |= {  # halves of the two documents' values
        "ppl_ref": math.exp((6 / 3 + 4) / 2),
        "ppl_cmp": math.exp((5.5 / 3 + 2) / 2),
        "delta": (0.5 / 3 + 2) / 2,
        "gain": (1 / 3 + 2) / 2,
        "loss": (0.5 / 3 + 0) / 2,
        "ppl_gain": (math.exp(-0.5 / 3) + math.exp(-2)) / 2,
        "bpb_ref": (6 / LN2 / 6 + 4 / LN2 / 4) / 2,
        "bpb_cmp": (5.5 / LN2 / 6 + 2 / LN2 / 4) / 2,
        "gain_bpb": (1 / LN2 / 6 + 2 / LN2 / 4) / 2,
        "loss_bpb": (0.5 / LN2 / 6 + 0) / 2,
    }
    assert {name: by_documents[name] for name in expected} == pytest.approx(expected, rel=1e-14)
    facts = ("size_bytes", "bits_per_weight", "n_params")
    assert [by_tokens[name] for name in facts] == [8, 8.5, 4]


def test_identities_of_documents() -> None:
    records = random_records()
    documents = documents_of(records)
    mean = (
        records.group_by("model", "document")
        .agg(mean=(pl.col("logp_cmp").cast(pl.Float64) - pl.col("logp_ref").cast(pl.Float64)).mean())
        .with_columns(pl.col("model", "document").cast(pl.String()))
    )
    joined = documents.join(mean, on=["model", "document"])
    assert len(joined) == 18
    d = np.log(documents["ppl_cmp"].to_numpy()) - np.log(documents["ppl_ref"].to_numpy())
    delta = documents["delta"].to_numpy()
    np.testing.assert_allclose(joined["delta"], joined["mean"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(documents["gain"] - documents["loss"], delta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(-d, delta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(documents["ppl_gain"] * documents["ppl_loss"], np.exp(d), rtol=1e-12)
    assert documents["ppl_gain"].max() <= 1 <= documents["ppl_loss"].min()
    assert min(documents["gain"].min(), documents["loss"].min()) >= 0
    for nats, bits in (("gain", "gain_bpb"), ("loss", "loss_bpb")):
        per_byte = documents[nats] * documents["n_scored"] / LN2 / documents["n_bytes"]
        np.testing.assert_allclose(documents[bits], per_byte, rtol=1e-12)
    drop = documents["bpb_ref"] - documents["bpb_cmp"]
    np.testing.assert_allclose(documents["gain_bpb"] - documents["loss_bpb"], drop, rtol=0, atol=1e-12)


def test_identities_of_models() -> None:
    models = models_frame(documents_of(random_records()))
    np.testing.assert_allclose(models["gain"] - models["loss"], models["delta"], rtol=0, atol=1e-12)
    d = np.log(models["ppl_cmp"].to_numpy()) - np.log(models["ppl_ref"].to_numpy())
    np.testing.assert_allclose(-d, models["delta"], rtol=0, atol=1e-12)
    for name in schema.INTERVALS:
        assert (models[f"{name}_low"] <= models[name]).all(), name
        assert (models[name] <= models[f"{name}_high"]).all(), name


def test_a_model_against_itself() -> None:
    same = random_records().with_columns(logp_cmp="logp_ref", delta=pl.lit(0.0, pl.Float32))
    documents = documents_of(same)
    models = models_frame(documents)
    for frame in (documents, models):
        assert frame["ppl_ref"].equals(frame["ppl_cmp"])
        for name in ("delta", "gain", "loss", "gain_bpb", "loss_bpb"):
            assert frame[name].abs().max() == 0
        assert frame["ppl_gain"].to_list() == frame["ppl_loss"].to_list() == [1.0] * len(frame)
    enough = models.filter(pl.col("n_documents") >= DOCUMENTS_MIN)
    assert len(enough) >= 2
    assert enough["gain_low"].to_list() == enough["gain_high"].to_list() == [0.0] * len(enough)


def test_swapping_the_models_swaps_gain_and_loss() -> None:
    records = random_records()
    there, back = documents_of(records), documents_of(swapped(records))
    for one, other in (("gain", "loss"), ("gain_bpb", "loss_bpb"), ("ppl_ref", "ppl_cmp"), ("bpb_ref", "bpb_cmp")):
        np.testing.assert_array_equal(there[one], back[other])
        np.testing.assert_array_equal(there[other], back[one])
    np.testing.assert_allclose(there["ppl_gain"] * back["ppl_loss"], 1, rtol=1e-12)
    there, back = models_frame(there), models_frame(back)
    np.testing.assert_allclose(there["gain"], back["loss"], rtol=1e-12)
    np.testing.assert_allclose(there["delta_low"], -back["delta_high"], rtol=1e-9)


def test_frames_have_the_schema_and_the_order() -> None:
    documents = documents_of(random_records(models=("z", "a")))
    assert documents.schema == pl.Schema(schema.DOCUMENTS)
    assert documents["model"].to_list() == ["z"] * 9 + ["a"] * 9
    names = documents.filter(pl.col("model") == "a")["document"].to_list()
    assert names == sorted(names)
    assert len(names) == 9
    models = models_frame(documents)
    assert models.schema == pl.Schema(schema.MODELS)
    keys = models.select("model", "category", "weighting").rows()
    assert keys == [
        (model, category, weighting)
        for model in ("z", "a")
        for category in (None, "", "a", "b")
        for weighting in schema.WEIGHTINGS
    ]
    assert models["n_documents"].to_list() == [9, 9, 3, 3, 3, 3, 3, 3] * 2


@pytest.mark.parametrize("size", [1, 7, 100])
def test_values_do_not_depend_on_how_the_records_lie(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    records = random_records()
    whole = documents_of(records)
    monkeypatch.setattr(metrics, "_SLICE", size)
    assert_frame_equal(documents_of(records), whole, rel_tol=1e-12)
    shuffled = records.sample(fraction=1.0, shuffle=True, seed=3)
    assert_frame_equal(documents_of(shuffled), whole, rel_tol=1e-12, check_row_order=False)


def test_families_have_their_own_tokens() -> None:
    rows = [("f", "m", "a/1", 0, -2.0, -1.0), ("g", "m", "a/1", 0, -2.0, -1.0), ("f", "m", "a/1", 1, -2.0, -1.0)]
    tokens = tokens_frame(rows)
    pieces = [("f", 0, b"x"), ("f", 1, "ä".encode()), ("g", 0, b"fourbytes")]
    documents = document_metrics(tokens, pl.DataFrame(pieces, schema=schema.PIECES, orient="row"), corpus_frame(tokens))
    assert documents.select("family", "n_scored", "n_bytes").rows() == [("f", 2, 3), ("g", 1, 9)]
    models = models_frame(documents)
    assert models.filter(pl.col("category").is_null())["family"].to_list() == ["f", "f", "g", "g"]


def test_a_span_of_several_tokens_has_the_bytes_that_it_covers() -> None:
    """One token's are those of its piece, with the space that a vocabulary puts before a text."""
    tokens = tokens_frame([("f", "m", "a/1", 0, -1.0, -2.0), ("f", "m", "a/1", 1, -3.0, -1.0)]).with_columns(
        pl.Series("byte_start", [0, 5], dtype=pl.UInt32()),
        pl.Series("byte_end", [5, 6], dtype=pl.UInt32()),
        pl.Series("n_tokens_ref", [3, 1], dtype=pl.UInt32()),
    )
    (document,) = documents_of(tokens).to_dicts()
    assert document["n_bytes"] == 5 + len(PIECE[1])
    assert document["delta_bpb"] == pytest.approx(1 / math.log(2) / document["n_bytes"])
    assert document["delta_bpb"] == pytest.approx(document["bpb_ref"] - document["bpb_cmp"])


def test_small_differences_survive_many_tokens() -> None:
    """2e6 deltas of one float32 step beside log-probabilities near -10: sums in float32 would lose them."""
    n = 2_000_000
    step = np.spacing(np.float32(10.0))
    tokens = tokens_frame([("f", "m", "a/1", 0, -1.0, -1.0)]).head(0)
    columns = {
        "family": ["f"] * n,
        "model": ["m"] * n,
        "document": ["a/1"] * n,
        "pos": np.arange(n, dtype=np.uint32),
        "token": np.zeros(n, np.int32),
        "logp_ref": np.full(n, -10.0, np.float32),
        "logp_cmp": np.full(n, -10.0, np.float32) + step,
        "delta": np.full(n, step, np.float32),
    }
    tokens = pl.DataFrame(columns, schema={name: tokens.schema[name] for name in columns})
    tokens = tokens.with_columns(
        *WITHOUT_PAIRS, *ONE_TOKEN, *(pl.lit(None, pl.UInt32).alias(f"byte_{end}") for end in ("start", "end"))
    )
    (document,) = documents_of(tokens).to_dicts()
    assert document["gain"] == pytest.approx(float(step), rel=1e-12)
    assert document["ppl_ref"] == pytest.approx(math.exp(10), rel=1e-12)


def test_no_tokens_give_empty_frames() -> None:
    documents = documents_of(BY_HAND.head(0))
    assert documents.schema == pl.Schema(schema.DOCUMENTS)
    assert models_frame(documents).schema == pl.Schema(schema.MODELS)
    assert len(documents) == 0


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_what_is_not_finite_shows_and_stays_in_its_model(value: float) -> None:
    records = random_records()
    first = records.with_row_index().filter(pl.col("model") == "m2")["index"][0]
    at = pl.int_range(pl.len()) == first
    broken = records.with_columns(
        logp_ref=pl.when(at).then(pl.lit(value, pl.Float32)).otherwise("logp_ref"),
        logp_cmp=pl.when(at).then(pl.lit(value, pl.Float32)).otherwise("logp_cmp"),
    )
    documents = documents_of(broken)
    (wrong,) = documents.filter(pl.col("delta").is_nan()).to_dicts()
    assert (wrong["model"], wrong["document"]) == ("m2", "a/000.txt")
    assert math.isnan(wrong["gain"]) and math.isnan(wrong["loss"])
    models = models_frame(documents)
    assert models.filter(pl.col("category").is_null(), pl.col("model") == "m2")["gain"].is_nan().all()
    sound = models_frame(documents_of(records)).filter(pl.col("model") == "m1")
    assert_frame_equal(models.filter(pl.col("model") == "m1"), sound, rel_tol=1e-12)


def test_tokens_without_bytes_have_no_bits_per_byte() -> None:
    pieces = pieces_frame().with_columns(piece=pl.lit(b""))
    documents = document_metrics(BY_HAND, pieces, corpus_frame(BY_HAND))
    assert documents["bpb_ref"].to_list() == documents["gain_bpb"].to_list() == [None, None]
    assert documents["gain"].null_count() == 0
    models = models_frame(documents)
    assert models["bpb_ref"].is_nan().all()
    assert models["gain"].is_finite().all()


@pytest.mark.parametrize("n_documents", [1, DOCUMENTS_MIN - 1, DOCUMENTS_MIN])
def test_few_documents_have_no_interval(n_documents: int) -> None:
    models = models_frame(documents_of(random_records(models=("m",), n_documents=n_documents)))
    ends = [f"{name}_{end}" for name in schema.INTERVALS for end in ("low", "high")]
    overall = models.filter(pl.col("category").is_null())
    assert overall["n_documents"].to_list() == [n_documents] * 2
    n_missing = 0 if n_documents >= DOCUMENTS_MIN else 2
    missing = dict(zip(ends, overall.select(ends).null_count().row(0), strict=True))
    assert {missing.pop(f"logp_cor_{end}") for end in ("low", "high")} == {max(1, n_missing)}, "one weighting lacks it"
    assert set(missing.values()) == {n_missing}


def test_comparisons_of_a_family_share_their_resamples() -> None:
    """Equal models have equal intervals; with draws of their own they would differ."""
    records = random_records(models=("m1",), n_documents=30)
    twin = records.with_columns(model=pl.lit("m2").cast(schema.NAMES))
    models = models_frame(documents_of(pl.concat([records, twin])))
    one, other = (models.filter(pl.col("model") == name).drop("model") for name in ("m1", "m2"))
    assert_frame_equal(one, other, rel_tol=1e-12)


def test_a_model_with_fewer_documents_counts_its_own() -> None:
    records = random_records()
    fewer = records.filter((pl.col("model") == "m1") | (pl.col("document") != "a/000.txt"))
    models = models_frame(documents_of(fewer)).filter(pl.col("category").is_null())
    assert dict(models.select("model", "n_documents").rows()) == {"m2": 8, "m1": 9}
    alone = models_frame(documents_of(fewer.filter(pl.col("model") == "m2"))).filter(pl.col("category").is_null())
    assert_frame_equal(models.filter(pl.col("model") == "m2"), alone, rel_tol=1e-12)


def test_seed_level_and_resamples_are_heeded() -> None:
    documents = documents_of(random_records())
    first = models_frame(documents, seed=1)
    assert_frame_equal(first, models_frame(documents, seed=1), check_exact=True)
    assert not first["gain_low"].equals(models_frame(documents, seed=2)["gain_low"])
    width = first["gain_high"] - first["gain_low"]
    narrow = models_frame(documents, seed=1, level=0.5)
    assert (narrow["gain_high"] - narrow["gain_low"] < width).all()
    with pytest.raises(PpldeltaError, match="between 0 and 1, got 95"):
        models_frame(documents, level=95)
    with pytest.raises(PpldeltaError, match="got 9 and 0"):
        models_frame(documents, n_resamples=0)


def test_models_that_are_not_described_have_nulls() -> None:
    documents = documents_of(BY_HAND)
    facts = pl.DataFrame(
        schema={name: schema.MODELS[name] for name in ("family", "model", "size_bytes", "bits_per_weight", "n_params")}
    )
    models = model_metrics(documents, facts)
    assert models["size_bytes"].null_count() == models["n_params"].null_count() == len(models) == 6


def test_frames_that_do_not_fit_are_refused() -> None:
    pieces, corpus = pieces_frame(), corpus_frame(BY_HAND)
    with pytest.raises(ResultError, match="`pieces` lacks token 3 of family `f`"):
        document_metrics(BY_HAND, pieces.filter(pl.col("token") != 3), corpus)
    with pytest.raises(ResultError, match="`pieces` lacks token 2 of family `f`"):
        document_metrics(BY_HAND, pieces.filter(pl.col("token") < 2), corpus)
    with pytest.raises(ResultError, match="`pieces` lacks token 0 of family `f`"):
        document_metrics(BY_HAND, pieces_frame(("g",)), corpus)
    with pytest.raises(ResultError, match="`pieces` lacks token -1 of family `f`"):
        document_metrics(BY_HAND.with_columns(token=pl.lit(-1, pl.Int32)), pieces, corpus)
    with pytest.raises(ResultError, match="`corpus` lacks the document `b/2`"):
        document_metrics(BY_HAND, pieces, corpus.filter(pl.col("document") == "a/1"))
    with pytest.raises(ResultError, match=r"`pieces` must hold each family and token once, got \('f', 0\) twice"):
        document_metrics(BY_HAND, pl.concat([pieces, pieces]), corpus)
    with pytest.raises(ResultError, match="`corpus` must hold each family and document once"):
        document_metrics(BY_HAND, pieces, pl.concat([corpus, corpus]))
