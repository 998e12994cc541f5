"""Cards: the numbers are those of the frames, equal results give equal bytes, no name breaks a picture or a table."""

from __future__ import annotations

import json
import re
import socket
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import huggingface_hub
import polars as pl
import pytest
import yaml

import ppldelta
from helpers import synthetic
from ppldelta.cards import content, glyphs, layout
from ppldelta.cards.content import Content
from ppldelta.cards.cover import cover
from ppldelta.cards.drawing import Drawing, Style, fitted
from ppldelta.cards.markdown import markdown
from ppldelta.cards.panel import ticks
from ppldelta.cards.records import VALUES, results
from ppldelta.cli import main
from ppldelta.errors import ResultError
from ppldelta.family import Family, Noise, Signature, today
from ppldelta.result import Result
from ppldelta.wording import numbers

SVG = "{http://www.w3.org/2000/svg}"
EVIL = ("</svg><script>alert(1)</script>|`\"'&", "\u202egpj\x00\x1b[31m\ufffe]]>", "  ", "模型-" + 80 * "long-")


@cache
def made(*names: str, quant: bool = False, kld: bool = True, n_documents: int = 12) -> Result:
    """A synthetic result whose models have these names, on day 2026-11-28; not to be changed, since it is kept."""
    names = names or ("one", "two")
    parts = synthetic.make(n_documents=n_documents, n_models=len(names), n_tokens=30, kld=kld)
    renamed = dict(zip((f"model-{i}" for i in range(len(names))), names, strict=True))
    size = {name: 1_000_000 * (i + 2) for i, name in enumerate(names)}
    frames = {
        name: parts[name].with_columns(
            pl.col("model").cast(pl.String).replace(renamed).cast(parts[name]["model"].dtype)
        )
        for name in ("tokens", "documents", "models")
    }
    frames["models"] = frames["models"].with_columns(
        size_bytes=pl.col("model").replace_strict(size).cast(pl.UInt64), bits_per_weight=pl.lit(4.5)
    )
    (family,) = parts["families"]
    cmp = tuple(
        replace(each, label=renamed[each.label], size_bytes=size[renamed[each.label]], kind="quant" if quant else None)
        for each in family.cmp
    )
    families = [replace(family, cmp=cmp, date="2026-11-28", corpus="/home/somebody/corpus")]
    more: dict[str, Any] = {name: parts[name] for name in ("pieces", "texts")}
    return Result(**frames, **more, families=families)


def card_of(result: Result) -> Content:
    return content.take(result.families, result.documents, result.models, "0.1.0")


def texts(svg: str) -> list[str]:
    """Every text of a picture, in the order in which it is drawn."""
    return [
        each.get("aria-label", "") for each in ElementTree.fromstring(svg).iter(f"{SVG}g") if each.get("aria-label")
    ]


def overall(result: Result) -> list[dict[str, Any]]:
    return result.models.filter(pl.col("category").is_null(), weighting="tokens").to_dicts()


def test_numbers_of_the_picture_are_those_of_the_frames() -> None:
    result = made("a", "b", "c")
    shown = texts(layout.card(card_of(result)))
    rows = overall(result)
    digits = numbers.decimals(*(row[name] for row in rows for name in ("gain", "loss")))
    for row in rows:
        at = max(i for i, text in enumerate(shown) if text == row["model"])  # in the table
        expected = [numbers.fixed(row["gain"], digits), numbers.fixed(row["loss"], digits)]
        assert shown[at + 1 : at + 4] == [*expected, numbers.signed(row["delta"], digits)]
    assert any("2026-11-28" in text for text in shown)
    assert not any("somebody" in text for text in shown)


def test_a_single_model_has_its_own_sentence_and_its_figures() -> None:
    result = made("alone")
    shown = texts(layout.card(card_of(result)))
    (row,) = overall(result)
    assert shown[:2] == ["alone", "predicts"]
    for value in (
        numbers.significant(row["kld"]),
        numbers.percent(row["same_top"]),
        numbers.perplexity(row["ppl_cmp"]),
    ):
        assert value in shown


def test_a_finetune_beside_quants_is_told_first_under_its_short_name() -> None:
    names = ("SmolLM2-135M-Instruct.tuned.Q8_0", "SmolLM2-135M-Instruct.Q4_K_M.Q8_0", "SmolLM2-135M-Instruct.Q2_K.Q8_0")
    result = made(*names)
    (family,) = result.families
    told = tuple(replace(each, kind="finetune" if i == 0 else "quant") for i, each in enumerate(family.cmp))
    card = card_of(replace(result, families=[replace(family, cmp=told)]))
    assert [model.name for model in card.models] == ["tuned", "Q4_K_M", "Q2_K"]
    assert card.said.startswith("tuned predicts ") and "SmolLM2" not in card.said
    assert " does the least damage, " in card.said


@pytest.mark.parametrize("kld", [True, False])
def test_quants_are_told_by_damage_and_divergence_against_size(kld: bool) -> None:
    result = made("a", "b", "c", quant=True, kld=kld)
    shown = texts(layout.card(card_of(result)))
    assert "damage," in shown and any(text.startswith("↑ damage") for text in shown)
    assert any("KL divergence" in text for text in shown) == kld
    assert any("same top token" in text for text in shown) == kld
    assert "better ↘" not in shown


def test_gain_equals_loss_stands_at_45_degrees() -> None:
    svg = layout.card(card_of(made()))
    (diagonal,) = re.findall(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"[^>]*stroke-dasharray="5 4"', svg)
    left, bottom, right, top = map(float, diagonal)
    assert right - left == pytest.approx(bottom - top, abs=0.02) and right - left > 250


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    one, other = made().card(tmp_path / "one"), made().card(tmp_path / "other")
    assert len(one) == 11
    for a, b in zip(one, other, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_pngs_have_their_sizes_and_are_no_empty_pages(tmp_path: Path) -> None:
    for path in made("a", "b").card(tmp_path):
        if path.suffix == ".png":
            data = path.read_bytes()
            size = struct.unpack(">II", data[16:24])
            assert size == ((1080, 1080) if "square" in path.name else (1200, 675))
            assert len(data) > 40_000


@pytest.mark.parametrize("names", [EVIL, EVIL[:1], EVIL[1:2], EVIL[3:], tuple(f"m{i}" for i in range(13))])
@pytest.mark.parametrize("quant", [True, False])
def test_no_name_breaks_a_picture(names: tuple[str, ...], quant: bool) -> None:
    result = made(*names, quant=quant)
    family = replace(result.families[0], date="<b>\x00\n", ref=replace(result.families[0].ref, label=names[0]))
    svg = layout.card(card_of(replace(result, families=[family])), "wide" if quant else "square")
    root = ElementTree.fromstring(svg)  # well-formed
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
        *("svg", "title", "desc", "defs", "path", "rect", "circle", "g", "use", "clipPath")
    }
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ufffe\uffff]", svg)
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    used, defined = set(re.findall('href="#([^"]+)"', svg)), set(re.findall('id="([^"]+)" d=', svg))
    assert used == defined


def test_a_page_holds_all_shapes_in_its_own_colours() -> None:
    """Their letters are outlines that they share, names do not clash, and what is selected is the text."""
    result = made(*EVIL, quant=True)
    made_cover = cover(card_of(result))
    assert set(made_cover.pictures) == set(layout.SIZES)
    whole = f"<div>{''.join(made_cover.pictures.values())}{made_cover.outlines}</div>"
    page = ElementTree.fromstring(whole)  # well-formed, whatever the names
    assert "script" not in {each.tag for each in page.iter()}
    names = re.findall(' id="([^"]+)"', whole)
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', whole)) == set(names)
    assert set(re.findall('(?:fill|stroke)="([^"]+)"', whole)) - {"none", "transparent"} == {
        f"var(--{role})" for role in ("surface", "ink", "muted", "line", "grid", "m0", "m1", "m2", "m3")
    }
    for shape, picture in made_cover.pictures.items():
        alone = layout.card(card_of(result), shape)
        assert [each.text for each in ElementTree.fromstring(picture).iter("text")] == texts(alone)


@pytest.mark.parametrize("n_models", [1, 8])
def test_nothing_is_written_beyond_the_edges(n_models: int) -> None:
    names = tuple(f"a-model-with-rather-a-long-name-{i}-{'x' * 40}-Q4_K_M" for i in range(n_models))
    for shape, (width, height) in layout.SIZES.items():
        edge = layout.EDGES[shape] - 14
        for quant in (True, False):
            svg = layout.card(card_of(made(*names, quant=quant)), shape)
            for x, y, turned, left, label in drawn(svg):
                assert 0 < y < height, label
                if not turned:
                    assert edge <= x + left <= width - edge, label


def drawn(svg: str) -> list[tuple[float, float, bool, float, str]]:
    """Where each text begins."""
    found = []
    for each in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if label := each.get("aria-label"):
            moves = re.findall(r"translate\(([-\d.]+) ([-\d.]+)\)", each.get("transform", ""))
            turned = "rotate" in each.get("transform", "")
            found.append((float(moves[0][0]), float(moves[0][1]), turned, sum(float(x) for x, _ in moves[1:]), label))
    return found


def test_a_long_name_loses_its_middle() -> None:
    style = Style(20, "bold")
    short = fitted("Qwen3.5-4B-Instruct-2511-abliterated.Q4_K_M", style, 200)
    assert style.width(short) <= 200 < style.width(short + "mm")
    assert short.startswith("Qwen3") and short.endswith("_K_M") and "…" in short
    assert fitted("Q4_0", style, 200) == "Q4_0"


def test_a_character_that_the_font_lacks_is_a_box_with_its_number() -> None:
    placed, advance = glyphs.face("regular").place("模")
    assert [each.name[-1:] for each in placed] == ["", *"6A21"]
    assert advance > 700
    drawing = Drawing(100, 100)
    drawing.text((0, 50), "模", Style(20))
    ElementTree.fromstring(drawing.svg("t", "d"))


def test_kerning_and_figures_of_one_width() -> None:
    assert glyphs.width("AV", 20) < glyphs.width("A", 20) + glyphs.width("V", 20)
    assert {round(glyphs.width(digit, 20, tabular=True), 6) for digit in "0123456789"} == {
        round(glyphs.width("0", 20, tabular=True), 6)
    }


def test_the_noise_floor_is_drawn_and_said() -> None:
    result = made("a", "b")
    noise = (Noise("n_ubatch 64", 9.0, 9.0, None, 1.0, 100),)
    noisy = replace(result, families=[replace(result.families[0], noise=noise)])
    shown = texts(layout.card(card_of(noisy)))
    assert "noise floor" in shown and "inside the noise floor" in shown
    assert "noise floor" not in texts(layout.card(card_of(result)))
    assert "- noise floor: gain 9.00, loss 9.00" in markdown(card_of(noisy))


def test_markdown_has_the_numbers_and_no_name_ends_a_cell() -> None:
    result = made(*EVIL)
    text = markdown(card_of(result))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(EVIL)
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")]
    for row, line in zip(overall(result), lines[2:], strict=True):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == len(heads)
        cell = dict(zip(heads, cells, strict=True))
        assert cell["PPL ratio"].startswith(numbers.fixed(row["ppl_ratio"], 4))
        assert cell["KLD, 99.9\N{NO-BREAK SPACE}%"].startswith(numbers.significant(row["kld_p999"]))
    outside = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)  # of code
    assert "<" not in outside and "alert" in text
    assert "- date: 2026-11-28" in text and "signature" in text and "ppldelta score corpus --ref" in text


def test_results_are_the_frames_without_what_is_not_known(tmp_path: Path) -> None:
    result = made("a", "b", kld=False)
    result.card(tmp_path)
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert found["format"] == 1 and [model["model"] for model in found["models"]] == ["a", "b"]
    assert len(found["documents"]) == len(result.documents)
    for row, model in zip(overall(result), found["models"], strict=True):
        (of_all,) = (each for each in model["results"] if each["category"] is None)
        for name in VALUES:
            assert of_all[name] == row[name], name
        assert of_all["delta_low"] == row["delta_low"]
    for row in found["documents"]:
        expected = result.documents.row(
            by_predicate=(pl.col("model") == row["model"]) & (pl.col("document") == row["document"]), named=True
        )
        assert {name: row[name] for name in VALUES} == {name: expected[name] for name in VALUES}
        assert row["kld"] is None
    assert "somebody" not in json.dumps(found)


def test_the_hub_reads_the_entries(tmp_path: Path) -> None:
    result = made(*EVIL[:2])
    result.card(tmp_path)
    data = yaml.safe_load((tmp_path / ".eval_results" / "ppldelta.yaml").read_text(encoding="utf-8"))
    entries = huggingface_hub.parse_eval_result_entries(data)
    assert {entry.dataset_id for entry in entries} == {"corpus"} and {entry.date for entry in entries} == {"2026-11-28"}
    by_task = {entry.task_id: entry.value for entry in entries if entry.notes.startswith("</svg>")}
    (row,) = (row for row in overall(result) if row["model"] == EVIL[0])
    assert by_task == {name: row[name] for name in ("gain", "loss", "delta", "kld", "same_top", "ppl_ratio")}


def test_the_foot_counts_all_documents_and_says_if_only_their_first_windows_were_scored() -> None:
    result = made()
    (family,) = result.families
    n = sum(result.documents.filter(model="one")["n_scored"])
    assert card_of(result).corpus == f"corpus, all 12 documents (4 code, 4 multilingual, 4 prose), {n} tokens"
    for n_ctx, n_windows, rule, said in (
        ("20", "1", "every", "the first 20 tokens of each, "),
        ("20", "1", "perplexity", "the first window of 20 tokens of each, "),
        ("10", "2", "every", "the first 2 windows of 10 tokens of each, "),
        ("2000", "1", "every", ""),
        ("20", "all", "every", ""),
    ):
        signature = Signature((("windows", rule), ("n_ctx", n_ctx), ("max_windows", n_windows)))
        card = card_of(replace(result, families=[replace(family, signature=signature)]))
        assert card.brief_corpus == f"corpus, all 12 documents, {said}{n} tokens"
    one = card_of(made(n_documents=1))
    assert one.corpus.startswith("corpus, 1 document, ")
    assert not any("bars" in text for text in texts(layout.card(one))), "none is drawn"


def test_several_families_are_compared_in_bits_per_byte() -> None:
    one, other = made("a", "b"), made("a", "c")
    family = replace(other.families[0], name="other", ref=replace(other.families[0].ref, label="other"))
    frames = {
        name: pl.concat([getattr(one, name), getattr(other, name).with_columns(family=pl.lit("other"))])
        for name in ("documents", "models")
    }
    card = content.take([*one.families, family], frames["documents"], frames["models"], "0.1.0")
    shown = texts(layout.card(card))
    assert "gain, bits per byte →" in shown
    assert any(text.startswith("References ") for text in shown)
    assert card.corpus.endswith(f", {numbers.count(overall(one)[0]['n_bytes'])} bytes")
    assert len({model.name for model in card.models}) == 4
    assert "net, bits per byte" in markdown(card)
    heights = {family["family"]: family["bpb_ref"] for family in frames["models"].unique("family").to_dicts()}
    frames["documents"] = frames["documents"].with_columns(
        bpb_ref=pl.col("bpb_ref") + pl.when(family="other").then(0.5).otherwise(0.0)
    )
    card = content.take([*one.families, family], frames["documents"], frames["models"], "0.1.0")
    better = one.families[0].name
    assert (
        card.said.startswith(f"{better} predicts this text better: ")
        and ". Each against its own reference: " in card.said
    )
    assert f"**`{better}` predicts this text better: " in markdown(card) and "| reference | bits per byte" in markdown(
        card
    )
    assert f"{better}: reference {numbers.fixed(heights[better], 3)} bits/byte" in texts(layout.card(card))
    (pair,) = json.loads(results(card))["references"]
    assert [pair["family_a"], pair["family_b"]] == [better, "other"] and pair["results"][0]["category"] is None
    assert pair["results"][0]["difference_high"] < 0 < pair["results"][0]["p_holm"]
    families = [
        replace(each, cmp=tuple(replace(cmp, kind="quant") for cmp in each.cmp)) for each in (*one.families, family)
    ]
    shown = texts(layout.card(content.take(families, frames["documents"], frames["models"], "0.1.0")))
    assert "↑ damage (gain + loss), bits/byte" in shown and "↑ bits per byte of text (lower is better)" in shown
    assert {"other", better} < set(shown) and not any("nats" in text for text in shown)


def test_long_names_of_several_families_stand_behind_those_of_their_families() -> None:
    facts = made("x").families[0].cmp[0]
    types = ("Q4_K_M", "Q3_K_M")

    def family(name: str, start: str) -> Family:
        return replace(made("x").families[0], name=name, cmp=tuple(replace(facts, label=f"{start}.{t}") for t in types))

    small, large = family("Small", "small-model-of-135M-Instruct"), family("Large", "large-model-of-1B-Instruct")
    pairs = [(each, facts) for each in (small, large) for facts in each.cmp]
    assert content._names(pairs) == ["Small Q4_K_M", "Small Q3_K_M", "Large Q4_K_M", "Large Q3_K_M"]
    assert content._names(pairs[:2]) == ["Q4_K_M", "Q3_K_M"], "of one family its name says nothing"


def test_spans_of_text_are_told_in_bits_per_byte(tmp_path: Path) -> None:
    parts = synthetic.with_spans(synthetic.make(n_documents=12, n_models=2, n_tokens=30))
    (family,) = parts["families"]
    rows = parts["models"].filter(pl.col("category").is_null(), weighting="tokens").to_dicts()
    most = [max(row[name] for row in rows) for name in ("gain_bpb", "loss_bpb")]
    noise = Noise("n_ubatch 64", *most, None, 1.0, 100, n_bytes=80)  # in bits per byte larger than in nats per token
    frames = {name: parts[name] for name in ("tokens", "documents", "models", "pieces", "texts")}
    result = Result(**frames, families=[replace(family, noise=(noise,))])
    card = card_of(result)
    assert [model.equal for model in card.models] == [True, True]
    shown = texts(layout.card(card))
    assert "gain, bits per byte →" in shown and not any("nats" in text for text in shown)
    page = markdown(card)
    assert numbers.signed(rows[0]["delta_bpb"]) in page and "in bits per byte of the real text" in page
    assert "--align bytes -o out" in page.replace("--kld ", "").replace("--noise-floor ", "")
    assert "PPL ratio" not in page and "nats per token of the" not in page
    single = card_of(replace(result, families=[replace(family, cmp=family.cmp[:1])]))
    assert "bits/byte" in single.said and "net, bits/byte" in texts(layout.card(single))
    result.card(tmp_path)
    tasks = yaml.safe_load((tmp_path / ".eval_results" / "ppldelta.yaml").read_text(encoding="utf-8"))
    assert {entry["dataset"]["task_id"] for entry in tasks} == {"gain_bpb", "loss_bpb", "delta_bpb"}


@pytest.mark.parametrize(
    ("template", "flag"),
    [
        ("True", "--chat-template -o out"),
        ("t.jinja@0123456789abcdef", "--chat-template-file t.jinja -o out"),
        ("/home/somebody/t.jinja", "--chat-template-file t.jinja -o out"),  # as older results have it
    ],
)
def test_the_command_has_the_chat_template_without_its_folder(tmp_path: Path, template: str, flag: str) -> None:
    result = made("a", kld=False)
    signature = Signature.of({**result.families[0].signature, "chat_template": template})
    asked = replace(result, families=[replace(result.families[0], signature=signature)])
    asked.card(tmp_path)
    for file in ("card.md", "results.json"):
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert flag in text and "somebody" not in text


def test_numbers_that_are_not_finite_are_said() -> None:
    result = made("a", "b")
    nothing = [
        pl.lit(float("nan")).alias(name) for name in result.models.columns if result.models[name].dtype.is_float()
    ]
    broken = replace(result, models=result.models.with_columns(*nothing))
    for shape in layout.SIZES:
        assert "finite." in texts(layout.card(card_of(broken), shape))


def test_a_card_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert made().card(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="cannot write"):
        made().card(tmp_path / "file")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.0031), (80, 150), (-3.0, 14.2), (0, 7e9)])
def test_ticks_are_round_and_few(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert low - 1e-9 <= found[0] and found[-1] <= high + 1e-9 * high


def test_a_run_says_its_day() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", today())


def test_the_command_writes_beside_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["card", str(tmp_path / "none")]) == 1
    assert "holds no result" in capsys.readouterr().err
    monkeypatch.setattr(ppldelta, "load", lambda _: made())
    assert main(["card", str(tmp_path)]) == 0
    written = capsys.readouterr().out.split()
    assert {Path(line).name for line in written} >= {"card.png", "card.svg", "card.md", "results.json", "ppldelta.yaml"}
