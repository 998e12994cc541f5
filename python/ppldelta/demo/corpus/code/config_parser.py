"""Read a small INI-like configuration language.

The format has sections, `key = value` pairs and comments:

    [server]
    host = example.test
    port = 8080             # trailing comments need a space before the mark
    motd = "hello # there"  # quotes protect the mark
    tags = [fast, local]    # a list, split at commas

Keys may be repeated in different sections but not inside one section. Lines
that end in a backslash continue on the next line.
"""

import re

_SECTION = re.compile(r"\[\s*([A-Za-z_][\w.-]*)\s*\]$")
_PAIR = re.compile(r"([A-Za-z_][\w-]*)\s*=\s*(.*)$")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


class ConfigError(ValueError):
    """A problem in the file, with the line on which it was found."""

    def __init__(self, line, message):
        super().__init__(f"line {line}: {message}")
        self.line = line


def _strip_comment(text):
    """Cut off a trailing comment, leaving marks inside quotes alone."""
    quoted = False
    skip = False
    for index, char in enumerate(text):
        if skip:
            skip = False
        elif quoted and char == "\\":
            skip = True
        elif char == '"':
            quoted = not quoted
        elif char == "#" and not quoted:
            if index == 0 or text[index - 1].isspace():
                return text[:index].rstrip()
    return text.rstrip()


def _logical_lines(text):
    """Join continued lines; yield (number of the first line, content)."""
    parts = []
    first = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        if not parts:
            first = number
        if raw.endswith("\\"):
            parts.append(raw[:-1].strip())
            continue
        parts.append(raw.strip())
        yield first, " ".join(part for part in parts if part)
        parts = []
    if parts:
        raise ConfigError(first, "the file ends in a continued line")


def _unquote(text, line):
    result = []
    chars = iter(text[1:-1])
    for char in chars:
        if char != "\\":
            result.append(char)
            continue
        escape = next(chars, "")
        if escape not in _ESCAPES:
            raise ConfigError(line, f"unknown escape \\{escape}")
        result.append(_ESCAPES[escape])
    return "".join(result)


def _split_list(text):
    """Split at commas that stand outside quotes."""
    return [item.strip() for item in re.findall(r'(?:"(?:\\.|[^"\\])*"|[^,])+', text) if item.strip()]


def parse_value(text, line=0):
    """Turn the right-hand side of a pair into a Python value."""
    if text.startswith("["):
        if not text.endswith("]"):
            raise ConfigError(line, "list without a closing bracket")
        return [parse_value(item, line) for item in _split_list(text[1:-1])]
    if text.startswith('"'):
        if not re.fullmatch(r'"(?:\\.|[^"\\])*"', text):
            raise ConfigError(line, "string without a closing quote")
        return _unquote(text, line)
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            pass
    return text


def parse(text):
    """Parse a whole file into a dictionary of dictionaries."""
    sections = {}
    current = None
    for line, raw in _logical_lines(text):
        content = _strip_comment(raw)
        if not content:
            continue
        match = _SECTION.match(content)
        if match:
            name = match.group(1)
            if name in sections:
                raise ConfigError(line, f"section [{name}] appears twice")
            current = sections[name] = {}
            continue
        match = _PAIR.match(content)
        if not match:
            raise ConfigError(line, f"cannot make sense of {content!r}")
        if current is None:
            raise ConfigError(line, "a value before the first section")
        key, value = match.groups()
        if key in current:
            raise ConfigError(line, f"{key!r} is set twice")
        current[key] = parse_value(value, line)
    return sections


def load(path):
    with open(path, encoding="utf-8") as handle:
        return parse(handle.read())
