"""A look at a text as figures and as one self-contained page: what stands where, and the sentences around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jinja2
import plotly.graph_objects as go
import plotly.offline
from markupsafe import Markup

from ppldelta.analysis.looks import Seen, first_dimensions, logarithms, probabilities, reach
from ppldelta.reporting import looks, theme
from ppldelta.reporting.blocks import Json
from ppldelta.reporting.looks import Axis
from ppldelta.reporting.page_figures import shared_template
from ppldelta.reporting.render import script_json
from ppldelta.reporting.scripts import policy, resource
from ppldelta.reporting.sentences import Piece, marked
from ppldelta.reporting.sketch import bare
from ppldelta.wording import numbers
from ppldelta.wording.names import counted
from ppldelta.wording.tokens import shown

N_DIMENSIONS = 64
"""Dimensions of the hidden states that are drawn, the first ones."""

_MOST_NATS = 3.0  # a probability 20 times as large: the end of the scale of differences


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: in `Look.figures`.
        link: the word that leads to it.
        title: what stands above it, for a reader who has five seconds.
        about: a sentence on how to read it.
        draw: makes it.
    """

    name: str
    link: str
    title: str
    about: str
    draw: Callable[[], go.Figure]


def pictures(seen: Seen) -> list[Picture]:
    """What there is to draw, in the order of the page."""
    places, columns, following = _places(seen), _columns(seen), _following(seen)
    who = "the reference" if len(seen.models) > 1 else "it"
    kind = (
        f"the tokens that matter here, those that {who} finds most probable on average at the top"
        if seen.chosen
        else "the tokens of the vocabulary that were asked for"
    )
    about = (
        f"From left to right the text, each token where it had to be predicted; from top to bottom {kind}. The "
        "stronger the colour, the more probable. Squares: the tokens that really came next."
    )
    least = -5 if seen.chosen else -10  # of a corner most tokens are rare ones

    def of(side: int) -> Callable[[], go.Figure]:
        logp, label = seen.logp[side], seen.models[side]
        return lambda: looks.matrix(logp, probabilities(logp), places, columns, following, label=label, least=least)

    names, links = ("logp", "logp_cmp"), ("reference" if len(seen.models) > 1 else "probabilities", "comparison")
    found = [
        Picture(names[side], links[side], f"What {label} expects next", about, of(side))
        for side, label in enumerate(seen.models)
    ]
    delta = seen.shown_difference
    if delta is not None:
        blank = " Blank: below 0.1 % for both." if seen.chosen else ""
        found.insert(
            0,
            Picture(
                "difference",
                "difference",
                f"Where {seen.models[1]} expects something else than {seen.models[0]}",
                f"The difference of the two matrices below. Green: {seen.models[1]} finds the token more probable; "
                f"purple: less.{blank} Squares: the tokens that really came next.",
                lambda: looks.difference(delta, places, columns, following, reach=_MOST_NATS),
            ),
        )
    return [*found, *_of_states(seen, places)]


def _of_states(seen: Seen, places: Axis) -> list[Picture]:
    found: list[Picture] = []
    distance, spread = seen.distance, seen.by_depth
    if distance is not None and spread is not None:
        of_all = _depths(seen, "the last norm")
        found += [
            Picture(
                "depth",
                "depth",
                "How far apart their hidden states are, layer by layer",
                "The length of the difference of both models’ states by the length of the reference’s: the line is the "
                "median of the places, the band holds 80 % of them.",
                lambda: looks.depth(spread, of_all),
            ),
            Picture(
                "departure",
                "along the text",
                "The same along the text",
                "The stronger the colour, the farther apart, after each layer (from bottom to top) at each place.",
                lambda: looks.departure(distance, places, of_all, reach=reach(distance)),
            ),
        ]
    states, norms = seen.states[0], seen.norms[0]
    if states is not None:
        some = first_dimensions(states, N_DIMENSIONS)
        n = f"The first {some.shape[1]} of {states.shape[1]} dimensions of what the head gets at each place of the text"
        found.append(
            Picture(
                "states",
                "states",
                f"Hidden states of {seen.models[0]}",
                f"{n}.",
                lambda: looks.states(some, places, reach=reach(some), says=f"the state of {seen.models[0]}"),
            )
        )
        other = seen.states[1] if len(seen.states) > 1 else None
        if other is not None and distance is not None:
            apart = first_dimensions(other, N_DIMENSIONS, less=states)
            found.append(
                Picture(
                    "states_difference",
                    "their change",
                    f"What {seen.models[1]} changes in them",
                    "The difference of both models’ states, on the scale of the figure before.",
                    lambda: looks.states(apart, places, reach=reach(some), says="difference of the states"),
                )
            )
    if norms is not None:
        found.append(
            Picture(
                "norms",
                "size",
                f"How large the states of {seen.models[0]} grow",
                "The root mean square of the state after each layer (from bottom to top), on a logarithmic scale.",
                lambda: looks.norms(logarithms(norms), places, _depths(seen), label=seen.models[0]),
            )
        )
    return found


class LookFigures(dict[str, go.Figure]):
    """The figures of a look by name."""

    @property
    def dark(self) -> LookFigures:
        """The same figures for a dark ground, as the page has them in its dark colours."""
        return LookFigures({name: theme.darkened(figure) for name, figure in self.items()})


def figures_of(seen: Seen) -> LookFigures:
    """The figures by name."""
    return LookFigures({each.name: each.draw() for each in pictures(seen)})


def page_of(seen: Seen, version: str) -> str:
    """The page, which loads nothing; the same bytes for the same look.

    Args:
        seen: what there is to show.
        version: of ppldelta.
    """
    drawn = [(each, each.draw()) for each in pictures(seen)]
    data: dict[str, Json] = {
        "figures": {each.name: bare(figure) for each, figure in drawn},
        "template": shared_template(),
        "dark_of_light": theme.DARK_OF_LIGHT,
    }
    scripts = [plotly.offline.get_plotlyjs(), resource("look.js")]
    scripts = [text.replace("\r\n", "\n") for text in scripts]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(resource("look.html")).render(
        seen=seen,
        text=_text(seen),
        findings=findings(seen),
        warnings=[marked(each) for each in seen.warnings],
        plots=[(each, figure.layout.height) for each, figure in drawn],
        version=version,
        theme=theme,
        css=Markup(resource("report.css")),
        scripts=[Markup(text) for text in scripts],
        policy=policy(scripts, folder=False),
        data=script_json(json.dumps(data, ensure_ascii=False)),
    )


def findings(seen: Seen) -> list[list[Piece]]:
    """What there is to see, in sentences."""
    found, n = seen.summary, len(seen.tokens)
    ref, *others = (f"`{label}`" for label in seen.models)
    of_all = counted(n, "place")
    if found.delta is None or found.n_same_top is None:
        return [
            marked(
                f"The token that came next was the most probable one at {found.n_top[0]} of {of_all}; "
                f"perplexity {numbers.perplexity(found.ppl[0])} over these."
            )
        ]
    if found.delta == 0:
        words = [f"{others[0]} finds what came next as probable as {ref} does."]
    else:
        words = [
            f"{others[0]} finds what came next {'more' if found.delta > 0 else 'less'} probable than {ref}: "
            f"{numbers.signed(found.delta)} nats per token, perplexity {numbers.perplexity(found.ppl[0])} → "
            f"{numbers.perplexity(found.ppl[1])}."
        ]
    words[0] += f" At {found.n_same_top} of {of_all} both find the same token most probable."
    if spread := seen.by_depth:
        names = [*seen.depth_names, "after the last norm"]
        words.append(
            f"Where the head gets them, its hidden states are {numbers.percent(spread.median[-1], 0)} of their length "
            f"away from the reference’s; the largest step on the way is {names[spread.largest_step]} (medians over the "
            "text)."
            if spread.median[-1] > 0
            else "Its hidden states are those of the reference."
        )
    return [marked(each) for each in words]


def _text(seen: Seen) -> str:
    return b"".join([seen.before, *seen.tokens["piece"].to_list()]).decode("utf-8", "replace")


def _depths(seen: Seen, *more: str) -> Axis:
    """The depths of the states, and what comes after the last one."""
    names = [*seen.depth_names, *(f"after {each}" for each in more)]
    return Axis(
        [str(depth) for depth in seen.depths] + [each.removeprefix("the last ") for each in more],
        names,
    )


def _places(seen: Seen) -> Axis:
    texts = list(map(shown, seen.tokens["piece"].to_list()))
    names = [f"{pos}: {text}" for pos, text in zip(seen.tokens["pos"].to_list(), texts, strict=True)]
    return Axis(texts, names)


def _columns(seen: Seen) -> Axis:
    texts = list(map(shown, seen.columns["piece"].to_list()))
    names = [f"{text} (token {token})" for token, text in zip(seen.columns["token"].to_list(), texts, strict=True)]
    return Axis(texts, names)


def _following(seen: Seen) -> Sequence[tuple[int, int]]:
    """Where the tokens that came next are in the matrix, as far as they have a column."""
    column = {token: i for i, token in enumerate(seen.columns["token"].to_list())}
    return [(i, column[token]) for i, token in enumerate(seen.tokens["token"].to_list()) if token in column]
