"""No module imports what stands above it, and the two wings of docs/design.md know nothing of each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ppldelta

PACKAGE = Path(ppldelta.__file__).parent
LOWEST_FIRST = (
    ("errors", "posix", "surroundings", "schema", "contrasts", "pairs", "family", "wording", "_core", "_load"),
    ("text", "models"),
    ("console",),
    ("engine", "store"),
    ("analysis",),
    ("reporting", "records", "saved"),
    ("cards",),
    ("result", "pages", "merging", "pictures"),
    ("run",),
    ("studies", "likelihood"),
    ("demo", "lm_eval"),
    ("commands",),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(LOWEST_FIRST) for name in names}
INSIDE: dict[str, tuple[str, ...]] = {
    "engine": (
        *("cpu", "devices", "kernels", "remedies", "kept", "causes", "llama_log", "tensors", "adapters", "info"),
        *("checked", "native", "chats", "content", "loaded", "recognition", "trusted", "isolated"),
        *("looking", "process", "executor", "lost", "rpc", "local", "worker", "shards", "session", "remote", "tool"),
    ),
    "likelihood": ("encoding", "answers", "loglikelihood"),
    "models": (
        *("source", "identity", "header", "fitness"),
        *("hub", "hub_cache", "hub_errors", "download", "references"),
    ),
    "cards": (
        *("glyphs", "drawing", "paragraph", "content", "panel", "plane", "sizes", "table", "layout"),
        *("cover", "command", "markdown", "records", "hub", "write", "notebook"),
    ),
    "console": ("board", "progress", "terminal"),
    "reporting": (
        *("blocks", "budget", "distinct", "family", "few", "folder", "labels", "order", "rows"),
        *("seen", "short", "short_names"),
        *(
            "units",
            "densities",
            "csv_names",
            "theme",
            "hover",
            "sentences",
            "floor",
            "quants",
            "overview",
            "references",
        ),
        *("cover", "tables", "notebook", "head", "odds", "text_table", "as_text", "provenance"),
        *("passages", "kinds", "listed_totals", "alternatives", "payload_divergence"),
        *("tour", "payload", "sketch", "lines"),
        *("marks", "plane", "prompts", "convergence", "ratios", "figures", "sizes"),
        *("divergence", "family_figures", "captions", "contents"),
        *("catalogue", "views", "gallery", "page_figures", "sections", "scripts", "render", "looks", "look_page"),
    ),
    "run": (
        *("limits", "setting", "settings", "batches", "tokenized", "tokenization"),
        *("cautions", "groups", "chats", "checks"),
        *("request", "keys", "memory", "values", "paired", "common_spans", "admission", "job"),
        *("kinds", "lockstep", "evaluation", "sample", "variants", "noise", "span_frames", "frames"),
        *("kld_models", "kld_frames", "from_records", "scoring", "looking", "plans", "dry_run"),
    ),
    "records": ("kld", "rows", "signed"),
    "store": ("database", "notes", "keys", "store", "hashes", "pruning"),
    "studies": ("description", "example", "study"),
}
"""The modules of a part, each of which imports only what stands before it."""
STRANGERS = {("engine", "store"), ("store", "engine")}
"""Neither knows of the other: where models run, and what is kept. `run` knows both."""
COMPUTES, SHOWS = {"text", "models", "engine", "store"}, {"analysis", "reporting", "cards"}
THIRD_PARTY: dict[str, set[str]] = {
    "analysis": {"numpy", "polars"},
    "cards": {"markupsafe", "numpy", "polars", "resvg_py"},
    "commands": {"distributed"},
    "console": {"tqdm"},
    "engine": {"loky", "numpy"},
    "likelihood": {"numpy", "polars"},
    "lm_eval": {"lm_eval"},
    "merging": {"polars"},
    "models": {"huggingface_hub"},
    "pages": {"polars"},
    "pairs": {"numpy"},
    "pictures": {"numpy"},
    "records": {"numpy"},
    "reporting": {"jinja2", "markupsafe", "numpy", "plotly", "polars"},
    "result": {"polars"},
    "run": {"numpy", "polars"},
    "saved": {"polars"},
    "schema": {"polars"},
    "store": {"numpy", "platformdirs"},
    "studies": {"tomli"},
    "text": {"numpy", "polars"},
}
"""What each part may import beside the standard library; parts that are not named import nothing else."""


def modules() -> list[tuple[str, Path]]:
    """The package's modules as (top-level name, file), without what the demo's corpus holds."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[:2] != ("demo", "corpus") and parts != ("__init__",):
            found.append((parts[0], path))
    return found


def imports(source: str) -> set[str]:
    """Dotted names that a module imports; `from ppldelta.run import job` counts as `ppldelta.run.job`."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module and (PACKAGE.parent / node.module.replace(".", "/")).is_dir():
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif node.module:
                names.add(node.module)
    return names


def violations(part: str, source: str, module: str | None = None) -> list[str]:
    """What a module of `part` imports and should not; with `module`, its name, the order inside the part counts too."""
    found = []
    inside = INSIDE.get(part, ())
    for name in sorted(imports(source)):
        top, _, rest = name.partition(".")
        if top == "ppldelta":
            target = rest.split(".")[0]
            if target in RANK and target != part:
                crosses = (part in SHOWS and target in {*COMPUTES, "_core"}) or (part in COMPUTES and target in SHOWS)
                if RANK[target] > RANK[part] or crosses or (part, target) in STRANGERS:
                    found.append(name)
            elif target == part and module in inside:
                other = rest.split(".")[1]
                if inside.index(other) >= inside.index(module):
                    found.append(name)
        elif top not in {*sys.stdlib_module_names, "_typeshed"} and top not in THIRD_PARTY.get(part, set()):
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("part", "path"), modules(), ids=lambda value: value.stem if isinstance(value, Path) else value
)
def test_no_module_imports_what_stands_above_it(part: str, path: Path) -> None:
    assert part in RANK, f"{path.name}: give the new part a rank"
    if part in INSIDE and path.stem != "__init__":
        assert path.stem in INSIDE[part], f"{path.name}: give the new module a place"
    assert violations(part, path.read_text(), path.stem) == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("analysis", "from ppldelta import _core"),
        ("analysis", "import plotly.graph_objects as go"),
        ("reporting", "from ppldelta.engine.native import Model"),
        ("text", "from ppldelta.run.scoring import score"),
        ("engine", "from ppldelta.reporting.render import render_report"),
        ("engine", "import plotly"),
        ("analysis", "import scipy.stats"),
        ("models", "import polars as pl"),
        ("run", "from tqdm.auto import tqdm"),
        ("store", "from ppldelta.engine import native"),
        ("engine", "from ppldelta.store.database import Database"),
    ],
)
def test_the_check_sees_a_violation(part: str, source: str) -> None:
    assert violations(part, source)


@pytest.mark.parametrize(
    ("part", "module", "source"),
    [
        ("run", "keys", "from ppldelta.run.job import Job"),
        ("run", "keys", "from ppldelta.run import job"),
        ("engine", "loaded", "from ppldelta.engine import worker"),
    ],
)
def test_the_check_sees_one_inside_a_part(part: str, module: str, source: str) -> None:
    assert violations(part, source, module)


def test_only_three_parts_import_the_extension() -> None:
    users = {part for part, path in modules() if "ppldelta._core" in imports(path.read_text())}
    assert users == {"_load", "engine", "result"}


def test_only_one_module_prints() -> None:
    """What is written goes through `progress` or `terminal`, which know what to do if nothing can be written."""
    for _, path in modules():
        calls = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if is_call_of_a_name(node)}
        assert "print" not in calls or path.stem == "progress", f"{path.name}: use `terminal.show` or `say`"


def is_call_of_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize(
    "name",
    [
        "figures",
        "lines",
        "marks",
        "plane",
        "prompts",
        "ratios",
        "sizes",
        "convergence",
        "divergence",
        "looks",
        "look_page",
    ],
)
def test_figures_compute_nothing(name: str) -> None:
    """They draw what frames hold; whatever needs NumPy is computed elsewhere."""
    assert "numpy" not in imports((PACKAGE / "reporting" / f"{name}.py").read_text())


def test_what_a_gpu_machine_runs_needs_neither_polars_nor_plotly() -> None:
    """Both are too large to be carried to a machine without a network (bench/gpu_check.sh)."""
    root = Path(__file__).parents[1]
    modules = (root / "bench" / "gpu_tests.txt").read_text().split()
    names = [*(Path(module).stem for module in modules), "ppldelta.run.job", "ppldelta.run.evaluation"]
    names += [path.stem for path in sorted((root / "bench").glob("gpu_*.py"))]
    assert len(names) > 8
    code = "import importlib, sys\nfor name in ('polars', 'plotly', 'jinja2', 'markupsafe'): sys.modules[name] = None\n"
    code += (
        f"sys.path += {[str(root / 'tests'), str(root / 'bench')]}\nfor name in {names}: importlib.import_module(name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
