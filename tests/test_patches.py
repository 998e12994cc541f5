"""patches/ and what applies it: the series fits its pin, applies strictly, fails loudly, and is explained.

The archive comes from the folder in PPLDELTA_DOWNLOADS, else from where a build left it, else from pip (once).
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppldelta.engine import remedies

ROOT = Path(__file__).resolve().parents[1]
PATCHES = ROOT / "patches"
SCRIPT = ROOT / "cmake" / "stage_llama_cpp.py"
PERPLEXITY = "tools/perplexity/perplexity.cpp"
HEADER = "tools/perplexity/signed-deltas.h"
AMX = "ggml/src/ggml-cpu/amx/mmq.cpp"
HEADINGS = ("Why.", "Why not outside a patch.", "Drop when.")


def stage(into, *args, patches=PATCHES, **env):
    command = [sys.executable, str(SCRIPT), "--patches", str(patches), "--into", str(into), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})


def staged_ok(*args, **kwargs):
    done = stage(*args, **kwargs)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def failed(done, *words):
    """The one message of a failed run, in which every one of `words` must stand."""
    assert done.returncode == 1, done
    assert done.stderr.startswith("error: ")
    assert "\nhint: " in done.stderr and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    return done.stderr


def files(root):
    return {
        p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file() and p.name != "ppldelta-stage.json"
    }


def mtimes(root):
    return {name: path.stat().st_mtime_ns for name, path in files(root).items()}


def contents(root):
    return {name: path.read_bytes() for name, path in files(root).items()}


@pytest.fixture(scope="session")
def downloads(tmp_path_factory):
    if "PPLDELTA_DOWNLOADS" in os.environ:
        return Path(os.environ["PPLDELTA_DOWNLOADS"])
    built = sorted((ROOT / "build").glob("*/downloads/llama_cpp_python-*.tar.gz"))
    return built[-1].parent if built else tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def staged(tmp_path_factory, downloads):
    """(tree, output) of the pinned source with the whole series; do not change it."""
    tree = tmp_path_factory.mktemp("staged") / "llama.cpp"
    return tree, staged_ok(tree, "--downloads", downloads)


@pytest.fixture
def patches(tmp_path):
    return Path(shutil.copytree(PATCHES, tmp_path / "patches"))


@pytest.fixture(scope="session")
def unpatched(tmp_path_factory, downloads):
    patches = Path(shutil.copytree(PATCHES, tmp_path_factory.mktemp("no-series") / "patches"))
    (patches / "series").write_text("")
    tree = tmp_path_factory.mktemp("unpatched") / "llama.cpp"
    staged_ok(tree, "--downloads", downloads, patches=patches)
    return tree


@pytest.fixture
def source(tmp_path, unpatched):
    """A small stand-in for a checkout: the files that the series touches, and what marks a llama.cpp."""
    context = ("src/llama-context.cpp", "src/llama-context.h", AMX)
    for name in ("src/llama.cpp", *context, PERPLEXITY, "common/arg.cpp", "common/common.h"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(unpatched / name, tmp_path / "source" / name)
    return tmp_path / "source"


def replace(path, old, new):
    text = path.read_bytes().decode()
    assert text.count(old) == 1
    path.write_bytes(text.replace(old, new).encode())


# --- the pinned tree ---


def test_series_fits_the_pin_line_by_line(staged, unpatched):
    tree, output = staged
    assert "note:" not in output, "a hunk moved: refresh the patch"
    assert "llama.cpp commit: 0c1e57098\n" in output
    original = contents(unpatched)
    changed = {name for name, content in contents(tree).items() if content != original.get(name)}
    touched = {
        name
        for patch in series(PATCHES)
        for name in re.findall(r"^\+\+\+ b/(\S+)", (PATCHES / patch).read_text(), re.M)
    }
    assert changed == touched
    assert HEADER in changed


def test_tree_holds_what_cmake_needs_and_its_licences(staged):
    names = files(staged[0])
    assert {"CMakeLists.txt", "LICENSE", "licenses/LICENSE-jsonhpp", "vendor/cpp-httplib/LICENSE"} <= names.keys()
    assert not [name for name in names if name.startswith(("tests/", "docs/", "models/", "tools/server/", "tools/ui/"))]


def test_second_run_writes_nothing(staged, downloads):
    tree = staged[0]
    before = mtimes(tree)
    assert "(unchanged)" in staged_ok(tree, "--downloads", downloads)
    (tree / "ppldelta-stage.json").unlink()  # without the stamp: every content is compared
    assert "0 written, 0 removed" in staged_ok(tree, "--downloads", downloads)
    assert mtimes(tree) == before


def test_second_run_needs_no_archive(staged, tmp_path):
    assert "(unchanged)" in staged_ok(staged[0], "--downloads", tmp_path, PIP_NO_INDEX="1")


def test_changed_patch_touches_only_its_files(tmp_path, patches, downloads):
    tree = tmp_path / "tree"
    staged_ok(tree, "--downloads", downloads, patches=patches)
    before = mtimes(tree)
    replace(patches / "signed-deltas.patch", "+// one scored token,", "+// one token that was scored,")
    assert "1 written, 0 removed" in staged_ok(tree, "--downloads", downloads, patches=patches)
    assert {name for name, mtime in mtimes(tree).items() if mtime != before[name]} == {HEADER}


def test_patch_taken_out_takes_its_file_along(tmp_path, patches, downloads):
    tree = tmp_path / "tree"
    staged_ok(tree, "--downloads", downloads, patches=patches)
    (tree / "mine.txt").write_text("not staged, so not removed")
    replace(patches / "series", "signed-deltas.patch\n", "")
    assert "3 written, 1 removed" in staged_ok(tree, "--downloads", downloads, patches=patches)
    assert not (tree / HEADER).exists()
    assert (tree / "mine.txt").exists()


def test_damaged_file_is_restored(tmp_path, downloads):
    tree = tmp_path / "tree"
    staged_ok(tree, "--downloads", downloads)
    (tree / PERPLEXITY).write_text("half")
    (tree / HEADER).unlink()
    assert "2 written, 0 removed" in staged_ok(tree, "--downloads", downloads)


# --- other sources ---


def test_checkout_is_copied_and_left_alone(source, staged, tmp_path):
    before = contents(source), mtimes(source)
    output = staged_ok(tmp_path / "tree", "--source", source)
    assert "llama.cpp commit: unknown\n" in output
    assert (contents(source), mtimes(source)) == before
    for name, content in contents(tmp_path / "tree").items():
        assert content == (staged[0] / name).read_bytes()


@pytest.mark.parametrize("packed", [False, True])
def test_checkout_tells_its_commit(source, tmp_path, packed):
    commit = "0123456789abcdef0123456789abcdef01234567"
    (source / ".git" / "refs" / "heads").mkdir(parents=True)
    (source / ".git" / "HEAD").write_text("ref: refs/heads/master\n")
    if packed:
        (source / ".git" / "packed-refs").write_text(f"# pack-refs\n{commit} refs/heads/master\n")
    else:
        (source / ".git" / "refs" / "heads" / "master").write_text(commit + "\n")
    assert "llama.cpp commit: 012345678\n" in staged_ok(tmp_path / "tree", "--source", source)


@pytest.mark.parametrize(
    ("file", "old", "new", "patch"),
    [
        (PERPLEXITY, "#include <random>\n", "#include <random> \n", "failures-exit-nonzero.patch"),
        (PERPLEXITY, "tokenization took", "tokenizing took", "short-inputs.patch"),
        (
            "common/common.h",
            "    bool   kl_divergence    = false; // compute KL divergence\n",
            "",
            "signed-deltas.patch",
        ),
        ("src/llama-context.cpp", "    bool has_logits     = true;\n", "", "logits-reader.patch"),
    ],
)
def test_changed_tree_fails_and_names_it_all(source, tmp_path, file, old, new, patch):
    replace(source / file, old, new)
    error = failed(
        stage(tmp_path / "tree", "--source", source), f"`{patch}`", f"`{file}`", "hunk ", "patches/README.md"
    )
    assert re.search(r"\n  expected: .*\n  found: ", error)
    assert not (tmp_path / "tree").exists()


def test_missing_and_surplus_files_fail(source, tmp_path):
    (source / HEADER).write_text("mine")
    failed(
        stage(tmp_path / "tree", "--source", source), "`signed-deltas.patch`", f"`{HEADER}`", "no such file", "4 bytes"
    )
    (source / HEADER).unlink()
    (source / "common/arg.cpp").unlink()
    failed(stage(tmp_path / "tree", "--source", source), "`signed-deltas.patch`", "`common/arg.cpp`", "no such file")


def test_moved_hunks_are_noted(source, staged, tmp_path):
    path = source / "common/common.h"
    path.write_bytes(b"// a line more\n" + path.read_bytes())
    output = staged_ok(tmp_path / "tree", "--source", source)
    assert "note: common/common.h: hunk 1 found +1 lines away\n" in output
    assert (tmp_path / "tree/common/common.h").read_bytes() == b"// a line more\n" + (
        staged[0] / "common/common.h"
    ).read_bytes()


def test_patched_checkout_is_accepted(staged, tmp_path):
    output = staged_ok(tmp_path / "tree", "--source", staged[0])
    for patch in series(PATCHES):
        assert f"note: already in the source: {patch}\n" in output
    assert contents(tmp_path / "tree") == contents(staged[0])


@pytest.mark.parametrize("only", ["failures-exit-nonzero.patch", "short-inputs.patch"])
def test_checkout_with_one_patch_is_accepted(source, staged, patches, tmp_path, only):
    whole = (patches / "series").read_text()
    (patches / "series").write_text(only + "\n")
    staged_ok(tmp_path / "partly", "--source", source, patches=patches)
    (patches / "series").write_text(whole)
    assert f"note: already in the source: {only}\n" in staged_ok(tmp_path / "tree", "--source", tmp_path / "partly")
    assert (tmp_path / "tree" / PERPLEXITY).read_bytes() == (staged[0] / PERPLEXITY).read_bytes()


def test_source_without_llama_cpp_fails(tmp_path):
    failed(stage(tmp_path / "tree", "--source", tmp_path), f"`{tmp_path}`", "src/llama.cpp")
    failed(stage(tmp_path / "tree", "--source", tmp_path / "none"), "src/llama.cpp")


# --- fetching ---


def lone_pip(**env):
    """An environment in which pip reads no settings but these."""
    ours = {name: "" for name in os.environ if name.startswith("PIP_")}
    return {**ours, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_TIMEOUT": "5", **env}


@pytest.mark.parametrize(
    "env",
    [{"PIP_NO_INDEX": "1"}, {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}],
    ids=["no index", "unreachable index"],
)
def test_no_index(tmp_path, env):
    done = stage(tmp_path / "tree", "--downloads", tmp_path / "downloads", **lone_pip(**env))
    failed(
        done, "llama-cpp-python==0.3.36", "no index is reachable", f"{tmp_path / 'downloads'}", "PPLDELTA_LLAMA_CPP_DIR"
    )


def test_wrong_hash(staged, patches, downloads, tmp_path):
    good = re.search("sha256:([0-9a-f]{64})", (patches / "llama_cpp.txt").read_text())[1]
    wrong = "0" * 64
    replace(patches / "llama_cpp.txt", good, wrong)
    env = lone_pip(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(downloads))
    done = stage(tmp_path / "tree", "--downloads", tmp_path / "downloads", patches=patches, **env)
    failed(done, "another hash", f"expected: sha256 {wrong}", f"found:    sha256 {good}", "llama_cpp.txt")


@pytest.mark.parametrize(
    ("old", "missing"), [("# llama.cpp commit: 0c1e57098\n", "commit"), ("--hash=", "--hash=sha256")]
)
def test_broken_pin(patches, tmp_path, old, missing):
    replace(patches / "llama_cpp.txt", old, "")
    failed(stage(tmp_path / "tree", patches=patches), "llama_cpp.txt", missing)


def test_series_names_a_missing_patch(patches, tmp_path):
    (patches / "short-inputs.patch").unlink()
    failed(stage(tmp_path / "tree", patches=patches), "short-inputs.patch", "not there")


# --- the applier ---


@pytest.fixture
def apply(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "cmake")
    import strict_patch

    def apply(patch, tree):
        return strict_patch.apply_series([strict_patch.parse("x.patch", patch)], tree, [])

    apply.Failure = strict_patch.Failure
    return apply


PATCH = b"--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n b\n-c\n+C\n d\n"


def test_apply(apply):
    assert apply(PATCH, {"f": b"a\nb\nc\nd\n", "g": b""}) == {"f": b"a\nb\nC\nd\n", "g": b""}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\nb\nc\n", "found:    (end of file)"),
        (b"", "found:    (end of file)"),
        (b"a\nb\nc\nd", "line 4 differs"),
        (b"a\r\nb\r\nc\r\nd\r\n", "expected: 'b\\n'\n  found:    'b\\r\\n'"),
        (b"a\nb\nc \nd\n", "line 3 differs\n  expected: 'c\\n'\n  found:    'c \\n'"),
        (b"b\nc\nd\n#\nb\nc\nd\n", "occur 2 times, first at lines [1, 5]"),
    ],
    ids=["end missing", "empty", "no line end", "carriage returns", "trailing space", "ambiguous"],
)
def test_context_must_match_exactly(apply, content, says):
    with pytest.raises(apply.Failure, match=re.escape(says)):
        apply(PATCH, {"f": content})


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        (b"nothing\n", "line 2: expected a unified diff"),
        (PATCH[:-3], "line 7: expected a line that begins with"),
        (PATCH + b" e\n", "line 8: expected a hunk that holds as many lines"),
        (PATCH.replace(b"2,3 @@", b"2,2 @@"), "expected 3 old and 2 new lines"),
        (b"--- a/f\n+++ b/f\n", "line 3: expected `@@"),
        (b"--- a/f\n@@ -1 +1 @@\n-a\n+b\n", "line 2: expected `+++ b/PATH`"),
        (b"--- a/f\n+++ b/f\n@@ -2,0 +3 @@\n+x\n", "expected context"),
    ],
    ids=["no diff", "cut off", "line too many", "wrong count", "no hunk", "no target", "no context"],
)
def test_broken_patch(apply, patch, says):
    with pytest.raises(apply.Failure, match=re.escape(says)):
        apply(patch, {"f": b"a\nb\nc\nd\n"})


# --- the header ---

PROGRAM = """
#include "signed-deltas.h"
int main(int argc, char ** argv) {
    const signed_delta_record records[3] = {
        {0, 5, 7, -1.0f, -0.25f, 0.5f}, {0, 6, 8, -2.0f, -3.5f, 0.125f}, {1, 5, 7, -3.0f, -3.0f, 0.0f}};
    signed_delta_sums sums;
    for (const auto & record : records) {
        sums.add(record.logp_ref, record.logp_cmp);
    }
    std::printf("%g %g %g %lld\\n", sums.gain, sums.loss, 3*sums.mean_delta(), (long long) sums.count);
    try {
        signed_delta_writer writer(argv[1], 3);
        writer.write(records, 2);
        writer.write(records + 2, argc - 2);
        writer.close();
    } catch (const std::exception & e) {
        std::fprintf(stderr, "%s\\n", e.what());
        return 1;
    }
}
"""


@pytest.fixture(scope="session")
def program(staged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("header")
    (folder / "main.cpp").write_text(PROGRAM)
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or "c++"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-I", str((staged[0] / HEADER).parent)]
    subprocess.run([compiler, *flags, "-o", folder / "main", folder / "main.cpp"], check=True)
    return folder / "main"


def test_header_sums_and_records(program, tmp_path):
    path = tmp_path / "größe 日本.npy"
    done = subprocess.run([program, path, "x"], capture_output=True, text=True, check=True)
    assert done.stdout == "0.75 1.5 -0.75 3\n"
    records = np.load(path, mmap_mode="r")
    assert records.dtype == [
        ("chunk", "<i4"),
        ("pos", "<i4"),
        ("token", "<i4"),
        *((c, "<f4") for c in ("logp_ref", "logp_cmp", "kld")),
    ]
    assert records.tolist() == [(0, 5, 7, -1.0, -0.25, 0.5), (0, 6, 8, -2.0, -3.5, 0.125), (1, 5, 7, -3.0, -3.0, 0.0)]
    assert records.offset % 64 == 0  # where the header ends


@pytest.mark.parametrize(
    ("args", "says"), [([], "fewer records than announced"), (["x", "x"], "more records than announced")]
)
def test_header_leaves_no_unfinished_file(program, tmp_path, args, says):
    done = subprocess.run([program, tmp_path / "r.npy", *args], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"{says} for {tmp_path / 'r.npy'}\n"
    assert not (tmp_path / "r.npy").exists()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/dev/full", "cannot write /dev/full: No space left on device"),
        ("none/r.npy", "cannot open none/r.npy: No such file or directory"),
    ],
)
def test_header_reports_write_errors(program, tmp_path, path, says):
    done = subprocess.run([program, path, "x"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, says + "\n")


# --- what the compiler makes of the AMX tile configuration ---


SHOW = """
#include <cstdio>
extern "C" { alignas(64) unsigned char seen[64]; }
void ggml_tile_config_init();
int main() {
    ggml_tile_config_init();
    for (const unsigned char byte : seen) {
        std::printf("%d ", byte);
    }
}
"""
# palette and first row, 14 reserved bytes, bytes per row (u16) and rows of 16 tiles, of which 8 are used
TILES = [1, 0, *[0] * 14, *[64, 0] * 2, *[32, 0] * 2, *[64, 0] * 4, *[0] * 16, 8, 8, *[16] * 6, *[0] * 8]


def tile_configuration(source, folder):
    """The 64 bytes that `ldtilecfg` would read in llama.cpp's `ggml_tile_config_init`, optimised as in a build.

    The instruction is replaced in the compiler's assembly by one that copies the bytes, so that this runs without AMX.
    """
    struct = re.search(r"^struct tile_config_t ?\{.*?^\};\n", source, re.M | re.S)[0]
    function = re.search(r"^inline void ggml_tile_config_init\(void\) \{.*?^\}\n", source, re.M | re.S)[0]
    (folder / "tile.cpp").write_text(
        "#include <immintrin.h>\n#include <cstdint>\n" + struct + function.removeprefix("inline ")
    )
    (folder / "show.cpp").write_text(SHOW)
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or "c++"
    flags = ["-std=c++17", "-O3", "-DNDEBUG", "-mamx-tile"]
    subprocess.run([compiler, *flags, "-S", "-o", folder / "tile.s", folder / "tile.cpp"], check=True)
    assembly = (folder / "tile.s").read_text()
    assert len(re.findall(r"\tldtilecfg\t", assembly)) == 1
    copy = r"".join(
        rf"\tmovups {part}+\g<at>(\g<base>), %xmm15\n\tmovups %xmm15, seen+{part}(%rip)\n" for part in (0, 16, 32, 48)
    )
    copied = re.sub(r"\tldtilecfg\t(?P<at>-?\d*)\((?P<base>%r\w+)\)\n", copy.replace("+\\g<at>", "+0\\g<at>"), assembly)
    (folder / "copied.s").write_text(copied)
    subprocess.run([compiler, "-o", folder / "show", folder / "copied.s", folder / "show.cpp"], check=True)
    return [int(n) for n in subprocess.check_output([folder / "show"], text=True).split()]


only_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="AMX is a part of x86-64")


@only_x86
def test_the_amx_tile_configuration_is_whole_when_it_is_read(staged, tmp_path):
    assert tile_configuration((staged[0] / AMX).read_text(), tmp_path) == TILES


@only_x86
def test_stores_that_the_compiler_removed_are_seen(staged, tmp_path):
    """The function without the patch, and with GCC 12's idea of `_tile_loadconfig`'s operand spelt out."""
    source = re.sub(r'__asm__ volatile\(""[^\n]*', "", (staged[0] / AMX).read_text())
    operand = '__asm__ volatile("ldtilecfg\\t%X0" :: "m" (*((const void **) &tc)));'
    assert tile_configuration(source.replace("_tile_loadconfig(&tc);", operand), tmp_path) != TILES


# --- every patch is listed and explained ---


def series(folder):
    return (folder / "series").read_text().split()


def unexplained(folder):
    """What a reader of `folder` would miss: (patch, what) for each file, series entry and README heading that lacks."""
    listed, present = series(folder), {path.name for path in folder.glob("*.patch")}
    parts = re.split(r"^## (\S+\.patch)\n", (folder / "README.md").read_text(), flags=re.M)[1:]
    sections = {name: re.split("^## ", text, flags=re.M)[0] for name, text in zip(parts[::2], parts[1::2], strict=True)}
    missing = [(name, "file") for name in {*listed, *sections} - present]
    missing += [(name, "series") for name in present - {*listed}]
    missing += [(name, "series once") for name in {*listed} if listed.count(name) > 1]
    for name in present:
        text = sections.get(name, "")
        missing += [
            (name, head) for head in HEADINGS if not re.search(rf"^\*\*{re.escape(head)}\*\* \S.{{20}}", text, re.M)
        ]
    return sorted(missing)


def test_every_patch_is_listed_and_explained():
    assert len(series(PATCHES)) >= 3
    assert unexplained(PATCHES) == []


@pytest.mark.parametrize("heading", HEADINGS)
@pytest.mark.parametrize("patch", series(PATCHES))
def test_checker_finds_a_missing_heading(patches, patch, heading):
    before, section, after = (patches / "README.md").read_text().partition(f"## {patch}\n")
    (patches / "README.md").write_text(before + section + after.replace(f"**{heading}**", "", 1))
    assert unexplained(patches) == [(patch, heading)]


def test_checker_finds_files_and_entries_that_lack(patches):
    (patches / "new.patch").write_text("")
    (patches / "short-inputs.patch").unlink()
    found = unexplained(patches)
    assert ("new.patch", "series") in found
    assert ("short-inputs.patch", "file") in found
    assert [what for name, what in found if name == "new.patch"] == sorted(["series", *HEADINGS])


def test_the_switches_that_remedies_name_are_options_of_the_tree(staged):
    """`ppldelta doctor` advises no switch that CMake would ignore."""
    tree, _ = staged
    options = (tree / "ggml" / "CMakeLists.txt").read_text()
    source = Path(remedies.__file__).read_text()
    named = {*remedies.OFF_WITHOUT_NATIVE, *remedies.ON_WITHOUT_NATIVE}
    named |= set(re.findall(r"-DGGML_([A-Z0-9_]+)=", source))
    assert {"NATIVE", "CPU_REPACK", "LLAMAFILE", "AVX512", "AVX2"} <= named
    for name in named:
        assert re.search(rf"option\(GGML_{name}\s", options), name
