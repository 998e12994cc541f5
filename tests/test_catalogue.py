"""The list of figures: the names that page, scripts and gallery make of it agree."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources

import polars as pl
import pytest

from helpers import synthetic
from ppldelta.family import Noise
from ppldelta.reporting import theme
from ppldelta.reporting.catalogue import FIGURES, SHARED, Description
from ppldelta.reporting.contents import AllFamilies
from ppldelta.reporting.family_figures import FamilyFigures
from ppldelta.reporting.page_figures import for_scripts
from ppldelta.reporting.scripts import SCRIPTS
from ppldelta.reporting.sketch import bare
from ppldelta.reporting.units import Choice
from ppldelta.result import Result

CATEGORIES = ["code", "{unit}", ""]
EVERY = [*FIGURES, SHARED]
PAGE = resources.files("ppldelta.reporting").joinpath("page")
SOURCES = {name: PAGE.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS}


def named(described: Description, choice: Choice) -> str:
    """The figure that the page asks for, put together as `plots.js` does it."""
    name = described.pattern(choice.category)
    category = "" if choice.category is None else f"={choice.category}"
    for switch, value in (
        ("unit", choice.unit),
        ("axes", choice.axes),
        ("weighting", choice.weighting),
        ("category", category),
    ):
        name = name.replace(f"{{{switch}}}", value, 1)
    return name


@pytest.mark.parametrize("described", EVERY, ids=lambda described: described.name)
def test_the_page_asks_for_figures_that_are_there(described: Description) -> None:
    keys = [described.key(choice) for choice in described.choices(CATEGORIES)]
    assert keys == [named(described, choice) for choice in described.choices(CATEGORIES)]
    assert len(set(keys)) == len(keys) > 0
    n = {"unit": 2, "axes": 2, "weighting": 2, "category": 1 + len(CATEGORIES)}
    expected = len(CATEGORIES) if described.of == "category" else 1
    for switch in described.switches:
        expected *= n[switch]
    assert len(keys) == expected


@pytest.mark.parametrize("kind", ["tokens", "spans", "quants"])
def test_the_page_has_figures_as_plotly_writes_them(kind: str) -> None:
    """Those that plotly has not looked at are nothing that it would refuse or write otherwise."""
    frames = synthetic.make(n_documents=12, n_models=3, n_tokens=40, kld=kind != "spans")
    result = Result(**(synthetic.with_spans(frames) if kind == "spans" else frames))
    floor = Noise("n_ubatch 64", 0.1, 0.2, 0.01, 0.5, 9)
    (family,) = result.families
    if kind == "quants":
        quants = tuple(replace(each, kind="quant") for each in family.cmp)
        family = replace(family, cmp=quants, noise=(floor,))
    bits = kind == "spans"
    own = FamilyFigures(family, result.documents, result.models, result.confidence, filled=False, bits=bits)
    both = [replace(family, name=name) for name in ("a", "b")]
    models = pl.concat([result.models.with_columns(family=pl.lit(each.name)) for each in both])
    n = 0
    for described, made in (*((each, own) for each in FIGURES), (SHARED, AllFamilies(both, models, own.categories))):
        if described.drawable(made) and described.shown(made):
            for choice in described.choices(own.categories):
                assert described.plain(made, choice) == bare(described.figure(made, choice)), (described.name, choice)
                n += 1
    assert n > 40


def test_names_are_distinct_and_one_category_needs_no_figures_of_its_own() -> None:
    assert len({each.name for each in EVERY}) == len(EVERY)
    assert {choice.category for each in EVERY if each.of != "category" for choice in each.choices(["code"])} == {None}


def test_a_figure_is_drawn_again_when_something_changes_that_it_shows() -> None:
    follows = {name: set(facts["follows"]) for name, facts in for_scripts().items()}
    assert follows["models"] == {"unit", "axes", "weighting", "category", "selection", "hidden"}
    assert follows["perplexities"] == {"category", "selection", "hidden"}
    assert follows["documents"] == {"unit", "axes", "category", "selection", "hidden"}
    assert follows["divergence"] == {"weighting", "category", "hidden"}
    assert follows["confidence"] == {"hidden"}
    assert follows["document_divergence"] == {"category", "selection", "hidden"}
    assert follows["small"] == {"unit", "axes", "weighting", "hidden"}
    assert follows["ratios"] == {"hidden"}
    assert follows["convergence"] == set(), "the reader draws it"


def test_the_scripts_fill_in_what_the_list_wants() -> None:
    filled = {name for source in SOURCES.values() for name in re.findall(r'plots\.fill\("(\w+)"', source)}
    assert filled == {each.filling for each in EVERY} - {None}


@pytest.mark.parametrize("name", [*SCRIPTS, "report.css"])
def test_what_python_knows_does_not_stand_in_the_page_again(name: str) -> None:
    source = PAGE.joinpath(name).read_text(encoding="utf-8")
    assert not re.search(r"#[0-9a-fA-F]{6}\b", source), "colours come from theme.py"
    assert not re.search(r"\b(65535|2048|32768|1024)\b", source), "steps come from payload.py"
    for each in EVERY:
        assert f'"{each.name}/' not in source and f"^({each.name}" not in source


def test_each_shade_has_a_value_at_which_it_begins() -> None:
    assert len(theme.SHADES) == len(theme.DELTA_SHADES) == len(theme.SURPRISAL_SHADES) == len(theme.KLD_SHADES)
    for steps in (theme.SHADES, theme.DELTA_SHADES, theme.SURPRISAL_SHADES, theme.KLD_SHADES):
        assert list(steps) == sorted(set(steps))
