"""What becomes a document, what it is called, and what is left out in which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ppldelta.errors import CorpusError
from ppldelta.text import documents as module
from ppldelta.text.documents import Document, corpus_path, load_documents


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A root with files at three depths, and hidden ones that must not be read."""
    root = tmp_path / "corpus"
    for name, text in {
        "readme.md": "root",
        "code/13.py": "print()",
        "code/deep/er/7.rs": "fn main() {}",
        "prose/a.txt": "Once upon a time",
        ".hidden.txt": "no",
        ".git/config": "no",
        "code/.cache/x.txt": "no",
        "code/__pycache__/13.cpython-311.pyc": "no",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


ALL = ["code/13.py", "code/deep/er/7.rs", "prose/a.txt", "readme.md"]


def names(files: object) -> list[str]:
    documents, warnings = load_documents(files)
    assert warnings == []
    return [document.name for document in documents]


def test_folder(corpus: Path) -> None:
    documents, warnings = load_documents(corpus)
    assert warnings == []
    assert documents == [
        Document("code/13.py", "code", b"print()"),
        Document("code/deep/er/7.rs", "code", b"fn main() {}"),
        Document("prose/a.txt", "prose", b"Once upon a time"),
        Document("readme.md", "", b"root"),
    ]


def test_folder_in_other_spellings(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    monkeypatch.setenv("HOME", str(corpus.parent))
    for spelling in (str(corpus), f"{corpus}/", ".", "../corpus", "~/corpus", [corpus]):
        assert names(spelling) == ALL


def test_a_root_below_a_hidden_folder_is_read(corpus: Path) -> None:
    hidden = corpus.rename(corpus.parent / ".corpus")
    assert names(hidden) == ALL


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", ALL),
        ("**/*", ALL),
        ("**/**/*", ALL),
        ("*", ["readme.md"]),
        ("*/*", ["code/13.py", "prose/a.txt"]),
        ("**/*.??", ["code/13.py", "code/deep/er/7.rs", "readme.md"]),
        ("code/*", ["13.py"]),
        ("code/**/*", ["13.py", "deep/er/7.rs"]),
        ("c*/**", ["code/13.py", "code/deep/er/7.rs"]),
        ("**/er/*", ["code/deep/er/7.rs"]),
        ("[p]*/*.txt", ["prose/a.txt"]),
    ],
)
def test_glob(corpus: Path, pattern: str, expected: list[str]) -> None:
    assert names(f"{corpus}/{pattern}") == expected


def test_a_glob_opens_no_folder_in_which_nothing_can_match(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(Path(path).name) or scandir(path))
    assert names(f"{corpus}/p*/*.txt") == ["prose/a.txt"]
    assert opened == ["corpus", "prose"]


def test_a_path_that_exists_is_no_glob(tmp_path: Path) -> None:
    (tmp_path / "data[1].txt").write_text("one")
    (tmp_path / "data1.txt").write_text("two")
    assert names(str(tmp_path / "data[1].txt")) == ["data[1].txt"]


def test_one_file(corpus: Path) -> None:
    assert load_documents(corpus / "code" / "13.py") == ([Document("13.py", "", b"print()")], [])
    assert names(corpus / ".hidden.txt") == [".hidden.txt"]  # asked for by name


def test_several_paths(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [corpus / "prose" / "a.txt", str(corpus / "code" / "13.py")]
    documents, _ = load_documents(iter(files))
    assert [(d.name, d.category) for d in documents] == [("code/13.py", "code"), ("prose/a.txt", "prose")]
    assert names([corpus / "prose", corpus / "code"]) == ALL[:3]
    assert names([corpus / "code" / "deep" / "er" / "7.rs", corpus / "code" / "13.py"]) == ["13.py", "deep/er/7.rs"]
    monkeypatch.chdir(corpus)
    assert names(["readme.md", "code/13.py"]) == ["code/13.py", "readme.md"]


def test_a_path_given_twice_is_read_once_and_said(corpus: Path) -> None:
    documents, warnings = load_documents([corpus / "code", corpus / "code" / "13.py", corpus / "readme.md"])
    assert [document.name for document in documents] == ["code/13.py", "code/deep/er/7.rs", "readme.md"]
    assert warnings == ["`code/13.py` is given more than once; it is read once."]


def test_mapping() -> None:
    documents, warnings = load_documents({"b": "zwei – ü", "code/a": b"one\r\n"})
    assert documents == [Document("b", "", "zwei – ü".encode()), Document("code/a", "code", b"one\r\n")]
    assert warnings == []


@pytest.mark.parametrize(
    "text", [b"a\r\nb\rc\n\n", b" \t\n", "\ufeffmark".encode(), "\U0001f600 日本".encode(), b"\x07"]
)
def test_bytes_stay_as_they_are(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x").write_bytes(text)
    assert load_documents(tmp_path)[0][0].text == text
    assert load_documents({"x": text})[0][0].text == text


def test_a_byte_order_mark_is_kept_and_said() -> None:
    _, warnings = load_documents({"x": "\ufeffmark"})
    assert warnings == ["`x` starts with a byte order mark, which is scored like any other text."]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "it is empty"),
        (b"caf\xe9", "it is not UTF-8, byte 0xe9 at byte offset 3"),
        (b"abc\xe2\x82", "it is not UTF-8, byte 0xe2 at byte offset 3"),
        (b"\xc0\xaf", "it is not UTF-8, byte 0xc0 at byte offset 0"),
        (b"GGUF\x00\xff", "it is binary, a NUL byte at byte offset 4"),
        (b"G\xff\x00", "it is not UTF-8, byte 0xff at byte offset 1"),
        ("hé".encode("utf-16"), "it is UTF-16, not UTF-8, by the byte order mark at byte offset 0"),
        ("ab\ud800", "it is not UTF-8, byte 0xed at byte offset 2"),
    ],
)
def test_what_is_left_out_is_named(text: bytes | str, reason: str) -> None:
    documents, warnings = load_documents({"good": "text", "sub/bad.txt": text})
    assert [document.name for document in documents] == ["good"]
    assert warnings == [f"`sub/bad.txt` is left out: {reason}."]


def test_links_pipes_and_broken_links(corpus: Path) -> None:
    (corpus / "broken").symlink_to(corpus / "nowhere")
    (corpus / "itself").symlink_to("itself")
    (corpus / "link.txt").symlink_to(corpus / "readme.md")
    os.mkfifo(corpus / "pipe")
    documents, warnings = load_documents(corpus)
    assert [document.name for document in documents] == sorted([*ALL, "link.txt"])
    assert sorted(warnings) == [
        "`broken` is left out: it cannot be read (No such file or directory).",
        "`itself` is left out: it cannot be read (Too many levels of symbolic links).",
        "`pipe` is left out: it is not a regular file.",
    ]


@pytest.mark.parametrize("pattern", ["", "/**/*"])
def test_loops_of_links_end(corpus: Path, pattern: str) -> None:
    (corpus / "code" / "up").symlink_to(corpus, target_is_directory=True)
    for link in ("also_prose", "zz_prose"):
        (corpus / link).symlink_to(corpus / "prose", target_is_directory=True)
    documents, warnings = load_documents(f"{corpus}{pattern}")
    assert [document.name for document in documents] == ALL  # the real names, wherever a link sorts
    assert sorted(warnings) == [
        "`also_prose` leads to a folder that is read already; it is read once.",
        "`code/up` leads to a folder that is read already; it is read once.",
        "`zz_prose` leads to a folder that is read already; it is read once.",
    ]


def test_many_links_between_folders_cost_no_more_than_reading_each_once(tmp_path: Path) -> None:
    folders = [tmp_path / f"{i:02}" for i in range(12)]
    for folder in folders:
        folder.mkdir()
        (folder / "x.txt").write_text("x")
        for other in folders:
            (folder / f"to{other.name}").symlink_to(other, target_is_directory=True)
    documents, warnings = load_documents(tmp_path)
    assert len(documents) == 12
    assert len(warnings) == 12 * 12


def test_a_linked_folder_elsewhere_is_read(corpus: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "sub"
    elsewhere.mkdir(parents=True)
    (elsewhere / "x.txt").write_text("x")
    (corpus / "more").symlink_to(elsewhere.parent, target_is_directory=True)
    assert names(corpus) == sorted([*ALL, "more/sub/x.txt"])


def test_unreadable_files_and_folders(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Patched, not chmod: the tests may run as root, whom no mode keeps out.
    def denied(real: object, name: str) -> object:
        def call(path: Path, *arguments: object) -> object:
            if Path(path).name == name:
                raise PermissionError(13, "Permission denied")
            return real(path, *arguments)

        return call

    monkeypatch.setattr(module.os, "scandir", denied(os.scandir, "deep"))
    monkeypatch.setattr(module.Path, "open", denied(Path.open, "13.py"))
    documents, warnings = load_documents(corpus)
    assert [document.name for document in documents] == ["prose/a.txt", "readme.md"]
    assert warnings == [
        "The folder `code/deep` is left out: it cannot be read (Permission denied).",
        "`code/13.py` is left out: it cannot be read (Permission denied).",
    ]


HOSTILE = [
    "<img src=x>.txt",
    "a b\tc.txt",
    "\"quotes'.txt",
    "new\nline.txt",
    "\x1b[31mred",
    "`tick`",
    "ümlaut 日本.txt",
    "$(x);",
]


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    for name in HOSTILE:
        (tmp_path / name).write_text("x")
    assert names(tmp_path) == sorted(HOSTILE)


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b[31mred\n.txt").touch()
    (tmp_path / "good").write_text("x")
    _, (warning,) = load_documents(tmp_path)
    assert warning == r"`\x1b[31mred\n.txt` is left out: it is empty."


def test_names_that_are_not_utf8_are_spelled_out_and_stay_unique(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path)
    try:
        Path(os.fsdecode(raw + b"/caf\xe9.txt")).write_text("byte")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (tmp_path / r"caf\xe9.txt").write_text("backslash")
    documents, warnings = load_documents(tmp_path)
    assert {document.name: document.text for document in documents} == {
        r"caf\xe9.txt": b"backslash",
        r"caf\xe9.txt (2)": b"byte",
    }
    assert warnings == [r"Two documents have the same name; the second is called `caf\xe9.txt (2)`."]


def test_of_two_equal_names_the_same_one_stays_whatever_the_order() -> None:
    texts = {"caf\udce9": "byte", r"caf\xe9": "backslash"}
    there, _ = load_documents(texts)
    back, _ = load_documents(dict(reversed(texts.items())))
    assert there == back
    assert there[0] == Document(r"caf\xe9", "", b"backslash")


def test_a_name_with_a_stray_surrogate_is_spelled_out() -> None:
    documents, _ = load_documents({"a\ud800b": "x"})
    assert documents[0].name == r"a\ud800b"


def test_order_does_not_depend_on_the_order_of_input(corpus: Path) -> None:
    files = [corpus / name for name in ALL]
    assert names(files) == names(files[::-1]) == names(dict.fromkeys(ALL[::-1], "x")) == ALL


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("nowhere", "`nowhere` does not exist"),
        ("nowhere/*.txt", "the glob `nowhere/\\*.txt` starts in `nowhere`, which is not a folder"),
        ("*.none", "no document in `\\*.none`"),
        ("empty", "no document in `empty`"),
        (["present.txt", "nowhere"], "`nowhere` does not exist"),
        (["present.txt", "*.txt"], r"(?s)`\*.txt` does not exist.*a glob is given on its own"),
        ([], "no document in the paths given"),
        ({}, "no document in the mapping"),
        ("", "a path must not be empty"),
        ("blank.txt", r"(?s)no document in `blank.txt` can be scored:.*`blank.txt` is left out: it is empty"),
        (dict.fromkeys("abcde", ""), r"(?s)can be scored:.*`a`.*`b`.*`c`.*… and 2 more"),
    ],
)
def test_nothing_to_score_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: object, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "present.txt").write_text("x")
    (tmp_path / "blank.txt").touch()
    with pytest.raises(CorpusError, match=message) as raised:
        load_documents(files)
    assert raised.value.hint or "starts in" in message


@pytest.mark.parametrize("files", [None, 3, b"corpus", [3, 4], {"x": 3}, {3: "x"}])
def test_wrong_types_are_named(files: object) -> None:
    with pytest.raises(CorpusError, match="must"):
        load_documents(files)


def test_a_corpus_is_called_by_its_path(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "one", tmp_path / "a" / "two"
    assert corpus_path(one) == corpus_path(str(one)) == corpus_path([one]) == str(one)
    assert corpus_path([one, two]) == str(tmp_path / "a")
    assert corpus_path(f"{one}/**/*.txt") == f"{one}/**/*.txt"
    assert corpus_path({"a": "text"}) is None
    assert corpus_path(iter([])) is None
