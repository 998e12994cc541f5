"""Readers: each turns one file of a Debian package into plain-text documents.

A reader takes the file's bytes and yields strings. Markup goes, paragraphs stay, one empty line between them.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser

PARAGRAPHS_PER_DOCUMENT = 12


def decode(data: bytes) -> str:
    """UTF-8, or nothing at all: files in older encodings are left out."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def grouped(paragraphs: list[str]) -> Iterator[str]:
    """Short pieces in groups, so that a document is longer than a sentence."""
    for start in range(0, len(paragraphs), PARAGRAPHS_PER_DOCUMENT):
        yield "\n\n".join(paragraphs[start : start + PARAGRAPHS_PER_DOCUMENT])


def one_line(text: str) -> str:
    """A paragraph without its line breaks; none is put between two characters of Japanese."""
    return re.sub(r"\s+", " ", re.sub(r"(?<=[\u3000-\u9fff])\s+(?=[\u3000-\u9fff])", "", text)).strip()


def unwrapped(text: str) -> str:
    """Lines of prose that were broken at a fixed width, joined again into paragraphs."""
    return "\n\n".join(one_line(part) for part in re.split(r"\n\s*\n", text) if part.strip())


def plain(data: bytes) -> Iterator[str]:
    yield decode(data)


LICENCE = re.compile(r"copyright|licen[cs]e|warrant|SPDX|permission", re.IGNORECASE)


def source(data: bytes) -> Iterator[str]:
    """Source code without the licence comment at its head."""
    lines = decode(data).replace("\t", "    ").split("\n")
    head = next((i for i, line in enumerate(lines) if not re.match(r"\s*(#(?!include|if|def)|/?\*|//|--|$)", line)), 0)
    if head > 3 and LICENCE.search("\n".join(lines[:head])):
        lines = lines[head:]
    if lines and max(map(len, lines)) < 400:  # longer lines mean generated or minified code
        yield "\n".join(lines)


def shell(data: bytes) -> Iterator[str]:
    """Only what starts as a shell script does: the folder holds binaries and Perl, too."""
    if re.match(rb"#!\s*/bin/(ba)?sh", data):
        yield from source(data)


class _Text(HTMLParser):
    """Keeps the text of HTML and Mallard pages."""

    SKIPPED = frozenset(("script", "style", "head", "info", "comment", "table", "nav"))
    BLOCKS = frozenset(
        ("p", "li", "item", "h1", "h2", "h3", "h4", "title", "pre", "screen", "dd", "dt", "div", "blockquote")
    )

    def __init__(self):
        super().__init__()
        self.parts: list[str] = []
        self.skipping = 0
        self.verbatim = 0

    def handle_starttag(self, tag, attrs):
        self.skipping += tag in self.SKIPPED
        if tag in self.BLOCKS:
            self.parts.append("\0")
        self.verbatim += tag in ("pre", "screen")

    def handle_endtag(self, tag):
        self.skipping -= tag in self.SKIPPED and self.skipping > 0
        self.verbatim -= tag in ("pre", "screen") and self.verbatim > 0
        if tag in self.BLOCKS:
            self.parts.append("\0")

    def handle_data(self, data):
        if not self.skipping:
            self.parts.append(data if self.verbatim else re.sub(r"\s+", " ", data))


def html(data: bytes) -> Iterator[str]:
    parser = _Text()
    parser.feed(decode(data))
    paragraphs = [part.strip() for part in "".join(parser.parts).split("\0")]
    yield "\n\n".join(one_line(part) if "\n" not in part else part for part in paragraphs if len(part) > 1)


ROFF_DROPPED = re.compile(r"""[.']\s*(\\"|\\\}|de|ds|if|ie|el|nr|so|TH|ig|ad|nh|hy|\.)""")
ROFF_BREAKS = frozenset(("SH", "SS", "PP", "P", "LP", "TP", "IP", "HP", "br", "sp", "RS", "RE"))
ROFF_FONTS = frozenset(("B", "I", "BR", "IR", "RB", "RI", "BI", "IB"))
ROFF_WITH_TEXT = ROFF_FONTS | {"SH", "SS", "SM", "UR", "IP"}
ROFF_CHARACTERS = {"-": "-", "(bu": "•", "(em": "—", "(aq": "'", "(co": "©", " ": " ", "e": "\\", "~": " "}


def manpage(data: bytes) -> Iterator[str]:
    """Manual pages: the text of the macros that bear text, without fonts; no table of macros is complete."""
    lines: list[str] = []
    for line in decode(data).split("\n"):
        if ROFF_DROPPED.match(line):
            continue
        macro = re.match(r"\.\s*([A-Za-z]+)\s*(.*)", line)
        if macro:
            name, line = macro.groups()
            if name in ROFF_BREAKS:
                lines.append("")
            if name not in ROFF_WITH_TEXT:
                continue
            if name in ROFF_FONTS and len(name) == 2:  # alternating fonts: the blanks between arguments go
                line = re.sub(r'(?<!\\) (?=(?:[^"]*"[^"]*")*[^"]*$)', "", line)
            line = line.replace('"', "")
        lines.append(line)
        if macro and macro.group(1) in ("SH", "SS"):
            lines.append("")
    text = re.sub(r"\\f(\(..|\[[^]]*\]|.)|\\[&,/|^%:cd]|\\s[-+]?\d", "", "\n".join(lines))
    for escape, character in ROFF_CHARACTERS.items():
        text = text.replace("\\" + escape, character)
    yield unwrapped(re.sub(r"\\[(*]..|\\[\[*]\[?[^]]*\]", "", text))


def pod(data: bytes) -> Iterator[str]:
    text = re.sub(r"^=(\w+) ?(.*)$", r"\2", decode(data), flags=re.MULTILINE)
    for _ in range(2):
        text = re.sub(r"[BCEFILSX]<+ ?([^<>|]*\|)?([^<>]*?) ?>+", r"\2", text)
    yield text


def fortune(data: bytes) -> Iterator[str]:
    yield from grouped([piece.strip() for piece in re.split(r"\n%\n", decode(data)) if piece.strip()])


def crawl(data: bytes) -> Iterator[str]:
    """Descriptions of a game's monsters and places: `%%%%`, a key, an empty line, paragraphs."""
    entries = [entry.strip().partition("\n\n")[2] for entry in decode(data).split("%%%%")]
    yield from grouped(
        [unwrapped(re.sub(r"\{\{.*?\}\}", "", entry, flags=re.DOTALL)) for entry in entries if len(entry) > 80]
    )


def endless_sky(data: bytes) -> Iterator[str]:
    """A game's conversations: the text between backticks."""
    paragraphs = re.findall(r"`([^`\n]{60,})`", decode(data))
    yield from grouped([re.sub(r"<[^>]*>", "Sam", paragraph).strip() for paragraph in paragraphs])


def r_strings(data: bytes) -> Iterator[str]:
    """Jane Austen's novels: each a compressed R vector of strings (flags, length, bytes), cut into pieces."""
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        try:
            block = zlib.decompressobj().decompress(data[match.start() :])
        except zlib.error:
            continue
        lines, at = [], block.find(b"\0\x04\0\x09")
        while 0 <= at < len(block) - 8 and block[at : at + 4] == b"\0\x04\0\x09":
            (length,) = struct.unpack(">i", block[at + 4 : at + 8])
            lines.append(decode(block[at + 8 : at + 8 + length]))
            at += 8 + length
        paragraphs = unwrapped("\n".join(lines)).split("\n\n")
        for start in range(0, len(paragraphs), 40):
            yield "\n\n".join(paragraphs[start : start + 40])


def _catalogue(data: bytes, column: int) -> Iterator[str]:
    """The longer messages of a gettext catalogue (`.mo`): English in column 0, the translation in column 1."""
    count, *tables = struct.unpack("<3I", data[8:20])
    paragraphs = []
    for i in range(count):
        length, start = struct.unpack("<2I", data[tables[column] + 8 * i :][:8])
        text = decode(data[start : start + length]).split("\0")[0].rpartition("\x04")[2]
        text = re.sub(r"<[^>]{1,40}>|\^", "", text).strip()
        if len(text.encode()) > 70 and not re.search(r"Project-Id-Version|\$|=|\\n|\|", text):
            paragraphs.append(one_line(text))
    yield from grouped(paragraphs)


def catalogue(data: bytes) -> Iterator[str]:
    yield from _catalogue(data, 1)


def catalogue_english(data: bytes) -> Iterator[str]:
    yield from _catalogue(data, 0)
