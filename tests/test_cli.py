"""The command line as a user meets it: real processes, real files, exit statuses, one clear line on failure."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ppldelta
from ppldelta import demo
from ppldelta.cli import main
from ppldelta.commands.arguments import parser


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ppldelta.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
    )


def test_score_then_report(tmp_path: Path) -> None:
    scored = run(
        "score", demo.CORPUS, "--ref", demo.REFERENCE, "--cmp", demo.COMPARISONS[0], "--cmp",
        f"tiny={demo.COMPARISONS[2]}", "-o", tmp_path / "out", "-c", 256, "--windows", "every",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert "tiny-code.Q8_0" in scored.stdout
    assert re.search(r"^tiny-code\.Q8_0: [\d.]+k tokens in 0:\d\d, .* tokens/s$", scored.stderr, re.MULTILINE)
    assert "\r" not in scored.stderr, "no bar where stderr is no terminal"
    assert str(tmp_path / "out" / "report.html") in scored.stdout
    assert ppldelta.load(tmp_path / "out").models["model"].unique().sort().to_list() == ["tiny", "tiny-code.Q8_0"]
    drawn = run("report", tmp_path / "out", "-o", tmp_path / "again.html")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "out" / "report.html").read_bytes()


def test_demo_writes_its_report(tmp_path: Path) -> None:
    shown = run("demo", "--no-open", "--store", "here.sqlite", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "ppldelta-demo/report.html" in shown.stdout
    assert (tmp_path / "here.sqlite").exists()
    assert (tmp_path / "ppldelta-demo" / "report.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    "arguments", [[], ["score"], ["score", "x", "--ref", "y"], ["nonsense"], ["score", ".", "--windows", "all"]]
)
def test_wrong_use_is_status_2(arguments: list[str]) -> None:
    used = run(*arguments)
    assert used.returncode == 2
    assert "usage: ppldelta" in used.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-c", "2"], "argument -c/--ctx-size: must be a whole number from 4 to 2147483647 or `0`, got `2`"),
        (["--ctx-size", "many"], "argument -c/--ctx-size: must be a whole number"),
        (["--chunks", "0"], "argument --chunks: must be a whole number from 1"),
        (["-ub", "0"], "argument -ub/--ubatch-size: must be a whole number from 4 to 65536"),
        (["-t", "0"], "argument -t/--threads: must be"),
        (
            ["-ngl", "-2"],
            "argument -ngl/--n-gpu-layers: must be a whole number from -1 to 2147483647 or `auto` or `all`",
        ),
    ],
)
def test_values_out_of_range_name_the_flag(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["score", "x", "--ref", "r", "--cmp", "c", "-o", "o", *flags])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_label_of_the_reference_is_named_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "x", "--ref", f"base={demo.REFERENCE}", "--cmp", "c", "-o", "o"]) == 1
    said = capsys.readouterr().err
    assert "and `--ref` takes no label" in said and "hint: only `--cmp` takes LABEL=MODEL" in said


def test_a_comparison_that_fails_is_left_out_and_the_status_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(demo.REFERENCE.read_bytes()[:-4096] + b"\xff" * 4096)  # NaN in the last tensor
    text = demo.CORPUS / "prose" / "mudflats_in_november.txt"
    used = run(
        "score", text, "--ref", demo.REFERENCE, "--cmp", demo.COMPARISONS[0], "--cmp", broken, "-o", tmp_path / "o"
    )
    assert used.returncode == 1
    assert "warning: `broken` gives log-probabilities that are not finite" in used.stderr
    assert used.stderr.endswith("ppldelta: error: 1 comparison (`broken`) is left out; the warnings above say why\n")
    assert (tmp_path / "o" / "report.html").exists()
    assert "report: " in used.stdout


def test_strict_counts_documents_too(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "good.txt").write_bytes((demo.CORPUS / "prose" / "mudflats_in_november.txt").read_bytes())
    arguments = ["score", corpus, "--ref", demo.REFERENCE, "--cmp", demo.COMPARISONS[0], "-o", tmp_path / "o"]
    arguments += ["--windows", "perplexity"]  # by which a text of one token is too short
    whole = run(*arguments, "--strict")
    assert whole.returncode == 0, whole.stderr
    (corpus / "empty.txt").touch()
    (corpus / "latin.txt").write_bytes(b"caf\xe9 au lait")
    for i in range(8):
        (corpus / f"short{i}.txt").write_text("a")
    lax = run(*arguments)
    assert lax.returncode == 0, lax.stderr
    strict = run(*arguments, "--strict")
    assert strict.returncode == 1
    assert strict.stderr.endswith(
        "\nppldelta: error: 10 documents (`empty.txt`, `latin.txt`, `short0.txt` …) are left out; "
        "the warnings above say why\n"
    )
    names = ["empty.txt", "latin.txt", *(f"short{i}.txt" for i in range(8))]
    assert ppldelta.load(tmp_path / "o").left_out == {"document": names}
    assert run(*arguments, "--dry-run").returncode == 0
    assert run(*arguments, "--dry-run", "--strict").returncode == 1


def test_strict_names_documents_and_comparisons(tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(demo.REFERENCE.read_bytes()[:4096])
    (tmp_path / "empty.txt").touch()
    used = run(
        "score", demo.CORPUS / "prose" / "being_early.txt", tmp_path / "empty.txt", "--ref", demo.REFERENCE, "--cmp",
        demo.COMPARISONS[0], "--cmp", f"mine={tmp_path / 'cut.gguf'}", "-o", tmp_path / "o", "--strict",
    )  # fmt: skip
    assert used.returncode == 1
    last = used.stderr.splitlines()[-1]
    assert last.startswith("ppldelta: error: 1 document (`")
    assert last.endswith("empty.txt`) and 1 comparison (`mine`) are left out; the warnings above say why")


def test_a_failed_run_leaves_no_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "empty.txt").touch()
    for out in (tmp_path / "new" / "deep" / "out", tmp_path / "mine"):
        failed = run("score", tmp_path / "empty.txt", "--ref", demo.REFERENCE, "--cmp", demo.COMPARISONS[0], "-o", out)
        assert failed.returncode == 1
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "mine").exists(), "it was there before"


@pytest.mark.parametrize("broken", ["corpus", "model", "output"])
def test_failure_is_status_1_and_one_clear_message(tmp_path: Path, broken: str) -> None:
    paths = {"corpus": demo.CORPUS, "model": demo.COMPARISONS[0], "output": tmp_path / "out"}
    paths[broken] = tmp_path / "broken"
    if broken == "model":
        paths[broken].write_bytes(demo.REFERENCE.read_bytes()[:20_000])
    if broken == "output":
        paths[broken].write_text("a file where a folder should be")
    failed = run("score", paths["corpus"], "--ref", demo.REFERENCE, "--cmp", paths["model"], "-o", paths["output"])
    assert failed.returncode == 1
    assert failed.stderr.startswith("ppldelta: error: ")
    assert "broken" in failed.stderr
    assert "hint: " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "to evaluate" not in failed.stderr, "refused before anything is evaluated"
    assert failed.stdout == ""


def test_values_that_llama_cpp_takes() -> None:
    options = parser().parse_args(
        ["score", "x", "--ref", "r", "--cmp", "c", "-o", "o", "-c", "0", "--chunks", "-1", "-ngl", "all"]
    )
    assert (options.n_ctx, options.max_windows, options.n_gpu_layers) == (None, None, None)


def test_token_views_are_a_number_or_all(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    out = demo_result.save(tmp_path / "out")
    drawn = run("report", out, "-o", tmp_path / "report", "--tokens", "all")
    assert drawn.returncode == 0, drawn.stderr
    assert Path(drawn.stdout.strip()) == tmp_path / "report" / "index.html"
    assert (tmp_path / "report" / "data" / "f0.d35.js").is_file()
    wrong = run("report", out, "-o", tmp_path / "report", "--tokens", "-5")
    assert wrong.returncode == 2
    assert "--tokens" in wrong.stderr


def test_help_names_the_commands() -> None:
    text = run("--help").stdout
    for command in ("score", "report", "verify", "demo", "perplexity"):
        assert command in text


def test_perplexity_is_the_patched_tool(document: Path) -> None:
    used = run("perplexity", "-m", demo.REFERENCE, "-bf", document, "-c", 256)
    assert used.returncode == 0
    assert "Final estimate: PPL" in used.stdout + used.stderr
    assert "--signed-deltas" in run("perplexity", "--help").stdout


def test_a_closed_pipe_ends_perplexity() -> None:
    program = [sys.executable, "-m", "ppldelta.cli", "perplexity", "--help"]
    reading, writing = os.pipe()
    os.close(reading)  # before anything is written: a reader that closes later may find all of it in the pipe
    try:
        ran = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writing)
    assert (ran.returncode, ran.stderr) == (-signal.SIGPIPE, b"")
