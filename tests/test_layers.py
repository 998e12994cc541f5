"""A module imports only what stands above it in DESIGN's list of parts: this reads the imports and holds that."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ppldelta

PACKAGE = Path(ppldelta.__file__).parent
LOWEST_FIRST = (
    ("errors", "posix", "surroundings", "schema", "family", "wording", "_core", "_load"),
    ("text", "models"),
    ("console",),
    ("engine", "store"),
    ("analysis",),
    ("reporting", "saved"),
    ("result", "merging"),
    ("run",),
    ("demo",),
    ("commands",),
    ("cli",),
)
REPORTING_LOWEST_FIRST = (
    ("blocks", "budget", "distinct", "family", "folder", "labels", "rows", "units"),
    ("theme", "hover", "sentences", "tables", "payload"),
    ("lines", "marks", "plane", "convergence", "ratios"),
    ("figures", "sizes"),
    ("family_figures",),
    ("catalogue",),
    ("gallery", "page_figures"),
    ("render",),
)
"""The same inside `reporting`, where a module imports only from the lines before its own."""
RANK = {name: rank for rank, names in enumerate(LOWEST_FIRST) for name in names}
COMPUTES, SHOWS = {"text", "models", "engine", "store"}, {"analysis", "reporting"}
THIRD_PARTY: dict[str, set[str]] = {
    "analysis": {"numpy", "polars"},
    "commands": {"distributed"},
    "console": {"tqdm"},
    "engine": {"loky", "numpy"},
    "merging": {"polars"},
    "reporting": {"jinja2", "markupsafe", "numpy", "plotly", "polars"},
    "result": {"polars"},
    "run": {"numpy", "polars"},
    "saved": {"polars"},
    "schema": {"polars"},
    "store": {"numpy", "platformdirs"},
    "text": {"numpy"},
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
    """Dotted names that a module imports; `from ppldelta import x` counts as `ppldelta.x`, of `reporting` likewise."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module in ("ppldelta", "ppldelta.reporting"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif node.module:
                names.add(node.module)
    return names


def violations(part: str, source: str) -> list[str]:
    """What a module of `part` imports and should not."""
    found = []
    for name in sorted(imports(source)):
        top, _, rest = name.partition(".")
        if top == "ppldelta":
            target = rest.split(".")[0]
            if target in RANK and target != part:
                crosses = (part in SHOWS and target in {*COMPUTES, "_core"}) or (part in COMPUTES and target in SHOWS)
                if RANK[target] > RANK[part] or crosses:
                    found.append(name)
        elif top not in sys.stdlib_module_names and top not in THIRD_PARTY.get(part, set()):
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("part", "path"), modules(), ids=lambda value: value.stem if isinstance(value, Path) else value
)
def test_module_imports_only_what_stands_above_it(part: str, path: Path) -> None:
    assert part in RANK, f"{path.name}: give the new part a rank"
    assert violations(part, path.read_text()) == []


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
        ("text", "import polars as pl"),
        ("run", "from tqdm.auto import tqdm"),
    ],
)
def test_the_check_sees_a_violation(part: str, source: str) -> None:
    assert violations(part, source)


def test_only_engine_and_what_stands_on_them_load_the_extension() -> None:
    users = {part for part, path in modules() if "ppldelta._core" in imports(path.read_text())}
    assert users <= {"_load", "engine", "result"}


def test_only_one_module_prints() -> None:
    """What is written goes through `progress` or `terminal`, which know what to do if nothing can be written."""
    for _, path in modules():
        calls = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if is_call_of_a_name(node)}
        assert "print" not in calls or path.stem == "progress", f"{path.name}: use `terminal.show` or `say`"


def is_call_of_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def test_reporting_is_built_in_layers() -> None:
    rank = {name: i for i, names in enumerate(REPORTING_LOWEST_FIRST) for name in names}
    sources = {path.stem: path.read_text() for part, path in modules() if part == "reporting"}
    assert sources.keys() - {"__init__"} == rank.keys(), "give a new module its line, and take that of one that is gone"
    for name, source in sources.items():
        assert reporting_violations(name, source, rank) == []
    assert reporting_violations("theme", "from ppldelta.reporting import units, hover", rank) == ["hover"]
    assert reporting_violations("marks", "from ppldelta.reporting.figures import models_plane", rank) == ["figures"]


def reporting_violations(name: str, source: str, rank: dict[str, int]) -> list[str]:
    """Modules of `reporting` that one of them imports although they do not stand below it."""
    found = {each.split(".")[2] for each in imports(source) if each.startswith("ppldelta.reporting.")}
    return sorted(each for each in found if rank[each] >= rank[name])


@pytest.mark.parametrize("name", ["figures", "lines", "marks", "plane", "ratios", "sizes", "convergence"])
def test_figures_compute_nothing(name: str) -> None:
    """No aggregation, no NumPy: figures draw what frames hold."""
    source = (PACKAGE / "reporting" / f"{name}.py").read_text()
    assert "numpy" not in imports(source)
    calls = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    assert not calls & {"agg", "mean", "median", "quantile", "std", "sum"}


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
