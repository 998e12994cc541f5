"""Chat templates: the engine renders what transformers would, and special tokens are where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import jinja2.sandbox
import pytest

import ppldelta
from helpers.chat_models import END, SIMPLE, TEMPLATES, with_template
from helpers.tables import write_rows
from ppldelta import _core, demo
from ppldelta.commands.arguments import parser
from ppldelta.engine.chats import Chats, Rendered
from ppldelta.engine.native import Model
from ppldelta.text.document import Message
from ppldelta.text.special import SpecialTokens, Spelt

CHATS = [
    [("user", "Hi")],
    [("user", " Hi \n"), ("assistant", "Hello, <b>you</b> & 'all' \"there\"")],
    [
        ("system", "Be kind."),
        ("user", "Was ist ⅔?\n\n"),
        ("assistant", "Zwei Drittel.\n"),
        ("user", "{{ no }} {% code %}"),
    ],
    [("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nb"), ("user", "c"), ("assistant", "<think>x</think>d")],
]
QUESTION = "She went up past the last farm. Where to?"
ANSWER = "To the road that turns to grass."


def as_transformers(source: str, messages: Sequence[tuple[str, str]], generate: bool) -> str:
    """What `apply_chat_template` of transformers renders (its ``utils/chat_template_utils.py`` has these settings)."""

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": lambda _: "26 Jul 2024"}
    return environment.from_string(source).render(
        messages=[{"role": role, "content": content} for role, content in messages],
        **{"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"},
        add_generation_prompt=generate,
    )


@pytest.mark.parametrize("generate", [False, True])
@pytest.mark.parametrize("chat", range(len(CHATS)))
@pytest.mark.parametrize("name", [*TEMPLATES, "simple"])
def test_a_template_renders_as_in_transformers(name: str, chat: int, generate: bool) -> None:
    source = TEMPLATES.get(name, SIMPLE)
    parts = _core.ChatTemplate(source).render(CHATS[chat], generate, b"<s>", b"</s>")
    text = b"".join(part for part, _ in parts).decode()
    assert text == as_transformers(source, CHATS[chat], generate)
    if name != "thoughts are cut":
        marked = "".join(part.decode() for part, content in parts if content)
        contents = "".join(content for _, content in CHATS[chat])
        assert "".join(marked.split()) in "".join(contents.split()), "all that is marked is content"
        assert "".join(marked.split()) or not contents


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_template(tmp_path_factory.mktemp("models") / "chatting.gguf", SIMPLE)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_template(tmp_path_factory.mktemp("models") / "other.gguf", SIMPLE + " ", demo.COMPARISONS[0])


def rendered(model: Path, source: str, *messages: tuple[str, str]) -> Rendered | str:
    (found,) = Chats(Model(model, vocab_only=True)).render(source, [[Message(*each) for each in messages]])
    return found


def test_the_completion_is_what_the_last_message_adds(chatting: Path) -> None:
    found = rendered(chatting, SIMPLE, ("user", "Hi"), ("assistant", " Hello "))
    assert isinstance(found, Rendered)
    assert found.text == f"user:\nHi{END}\nassistant:\nHello{END}\n".encode()
    assert found.text[found.prompt_bytes :] == f"Hello{END}\n".encode()
    assert [found.text[low:high] for low, high in found.plain] == [b"Hi", b"Hello"]


def test_a_bos_that_the_window_rules_put_is_not_there_twice(chatting: Path) -> None:
    found = rendered(chatting, "{{ bos_token }}" + SIMPLE, ("user", "Hi"), ("assistant", "Hello"))
    assert found == rendered(chatting, SIMPLE, ("user", "Hi"), ("assistant", "Hello"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ messages | length }}", "does not begin with that of the messages before the last: `2` instead of `1` at"),
        ("{{ messages[0].content }}", "writes nothing of the last message"),
        ("{{ raise_exception('No \\n system role!') }}", "the chat template fails: system role!"),
        ("{{ nothing() }}", "the chat template fails: Callee is not a function"),
    ],
)  # fmt: skip
def test_what_a_template_cannot_do_is_said(chatting: Path, source: str, said: str) -> None:
    found = rendered(chatting, source, ("user", "Hi"), ("assistant", "Hello"))
    assert isinstance(found, str) and said in found and "\n" not in found


def test_special_tokens_are_found_by_the_longest_name() -> None:
    special = SpecialTokens([b"<a>", b"<a>b", b"<a>bc", b"", b".*", b"</s>", "<｜x｜>".encode()])
    text = b"x<a>b<a>bcd<a> a.*b </s" + "<｜x｜>".encode()
    assert [text[begin:end] for begin, end in special.found(text)] == [
        b"<a>b",
        b"<a>bc",
        b"<a>",
        b".*",
        "<｜x｜>".encode(),
    ]
    assert list(SpecialTokens([]).found(b"<a>")) == []
    assert special.pieces(Spelt(b"<a> <a>", ((4, 7),))) == [(b"<a> ", True), (b"<a>", False)]
    assert special.pieces(Spelt(b"<a> <a>", ((0, 1), (3, 4)))) == [(b"<a>", False), (b" <a>", True)]
    assert special.pieces(Spelt(b"<a> <a>")) == [(b"<a> <a>", True)]


def test_special_tokens_of_contents_are_plain_text(chatting: Path) -> None:
    chats, eos = Chats(Model(chatting, vocab_only=True)), Model(chatting, vocab_only=True).info.eos
    found = rendered(chatting, SIMPLE, ("user", f"What is {END}?"), ("assistant", f"The end{END}"))
    assert isinstance(found, Rendered)
    tokens = chats.tokenize(Spelt(found.text, found.plain))
    assert (tokens == eos).sum() == 2 and (chats.tokenize(Spelt(found.text)) == eos).sum() == 4
    assert b"".join(Model(chatting, vocab_only=True).pieces(tokens)) == found.text


def chat(*contents: str) -> dict[str, object]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]}


def test_chats_are_scored_behind_their_prompts(tmp_path: Path, chatting: Path) -> None:
    path = write_rows(
        tmp_path / "x.jsonl",
        chat(QUESTION, ANSWER),
        {"prompt": QUESTION, "completion": ANSWER},
        {"text": ANSWER},
    )
    settings: dict[str, object] = {"chat_template": True, "windows": "every", "progress": False}
    result = ppldelta.score(path, chatting, demo.COMPARISONS[0], **settings)  # type: ignore[arg-type]
    one, same, text = result.tokens.partition_by("document")
    assert one.drop("document").equals(same.drop("document"))
    pieces = dict(result.pieces.select("token", "piece").rows())
    assert b"".join(pieces[token] for token in one["token"]) == f"{ANSWER}{END}\n".encode()
    assert END.encode() in pieces.values(), "special tokens have pieces, which the page shows"
    assert one["byte_end"][-1] - one["byte_start"][0] == len(f"{ANSWER}{END}\n")
    assert b"".join(pieces[token] for token in text["token"]) == ANSWER.encode()
    (warning,) = result.warnings
    assert warning == "`tiny-code.Q8_0` has no chat template: all models read what the template of `chatting` makes."
    assert "|chat_template:True|" in str(result.signature)


def test_another_template_comes_from_a_file(tmp_path: Path, chatting: Path, other: Path) -> None:
    path = write_rows(tmp_path / "x.jsonl", chat(QUESTION, ANSWER))
    (tmp_path / "t.jinja").write_text(SIMPLE)
    own = ppldelta.score(path, chatting, other, chat_template=True, progress=False)
    file = ppldelta.score(path, chatting, other, chat_template=str(tmp_path / "t.jinja"), progress=False)
    assert file.tokens.equals(own.tokens) and not file.warnings
    assert own.warnings[0].startswith("`other` has another chat template: all models read")
    (tmp_path / "moved").mkdir()
    (tmp_path / "t.jinja").rename(moved := tmp_path / "moved" / "t.jinja")
    again = ppldelta.score(path, chatting, other, chat_template=str(moved), progress=False)
    assert again.signature == file.signature and "|chat_template:t.jinja@" in str(file.signature)
    options = parser().parse_args(["score", "x", "--ref", "r", "--cmp", "c", "--chat-template-file", "t.jinja"])
    assert options.chat_template == "t.jinja"


def test_chats_without_a_template_are_refused(tmp_path: Path, chatting: Path) -> None:
    path = write_rows(tmp_path / "x.jsonl", chat(QUESTION, ANSWER), chat(QUESTION, ANSWER))
    with pytest.raises(ppldelta.CorpusError, match=r"`x.jsonl:1`, `x.jsonl:2` are chats") as caught:
        ppldelta.score(path, chatting, chatting, progress=False)
    assert "--chat-template" in str(caught.value)
    with pytest.raises(ppldelta.ModelError, match=r"`tiny-ref.Q8_0` has no chat template"):
        ppldelta.score(path, demo.REFERENCE, chatting, progress=False, chat_template=True)
    with pytest.raises(
        ppldelta.ModelError, match=r"cannot be read: No such file or directory\nhint: .*--chat-template-file"
    ):
        ppldelta.score(path, chatting, chatting, progress=False, chat_template=str(tmp_path / "no.jinja"))
    (tmp_path / "t.jinja").write_text("{% if %}")
    with pytest.raises(ppldelta.ModelError, match="cannot be parsed: Unexpected token"):
        ppldelta.score(path, chatting, chatting, progress=False, chat_template=str(tmp_path / "t.jinja"))


def test_a_chat_that_the_template_refuses_is_left_out(tmp_path: Path, chatting: Path) -> None:
    late = {"messages": [{"role": role, "content": "x"} for role in ("user", "system", "assistant")]}
    result = ppldelta.score(
        write_rows(tmp_path / "x.jsonl", chat(QUESTION, ANSWER), late),
        chatting,
        chatting,
        progress=False,
        chat_template=True,
    )
    assert "`x.jsonl:2` is left out: the chat template fails: A system message comes first." in result.warnings
    assert result.left_out == {"document": ["x.jsonl:2"]}
    with pytest.raises(ppldelta.CorpusError, match=r"no text can be made of `y.jsonl:1`: the chat template fails"):
        ppldelta.score(write_rows(tmp_path / "y.jsonl", late), chatting, chatting, progress=False, chat_template=True)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}?{% endif %}",
            "not begin with",
        ),
        ("{% for m in messages %}{{ m.content | frobnicate }}{% endfor %}", "the chat template fails: "),
    ],
)
def test_a_file_that_no_text_can_be_made_with_is_to_be_mended(
    tmp_path: Path, chatting: Path, source: str, said: str
) -> None:
    (file := tmp_path / "t.jinja").write_text(source)
    path = write_rows(tmp_path / "x.jsonl", chat(QUESTION, ANSWER))
    with pytest.raises(ppldelta.CorpusError, match=said) as caught:
        ppldelta.score(path, chatting, chatting, progress=False, chat_template=str(file))
    assert caught.value.hint and caught.value.hint.startswith(f"mend `{file}`, or name another one")


def test_a_prompt_that_is_special_already_is_not_put_into_the_template_again(tmp_path: Path, chatting: Path) -> None:
    row = {"prompt": f"user:\n{QUESTION}{END}\nassistant:\n", "completion": f"{ANSWER}{END}\n", "special": True}
    path = write_rows(tmp_path / "x.jsonl", row, {"prompt": QUESTION, "completion": ANSWER})
    result = ppldelta.score(path, chatting, chatting, progress=False, chat_template=True)
    before, made = result.texts["tokens"].to_list()
    assert before == made
    assert '`x.jsonl:1` says `"special": true`, that a chat template was applied before: it is not applied again.' in (
        result.warnings
    )


def test_a_template_that_has_nothing_to_do_says_so(tmp_path: Path, chatting: Path) -> None:
    result = ppldelta.score({"a": ANSWER}, chatting, chatting, progress=False, chat_template=True)
    assert any("is applied to nothing" in warning for warning in result.warnings)


def test_special_tokens_that_are_spelt_are_named(tmp_path: Path, chatting: Path) -> None:
    result = ppldelta.score({"a": f"{ANSWER}{END}", "b": ANSWER}, chatting, chatting, progress=False)
    warning = next(each for each in result.warnings if "spell" in each)
    assert warning.startswith(
        f"Texts spell special tokens of the vocabulary in 1 document (`{END}`), which are read as"
    )
    assert "`chat_template=True`" in warning and '`"special": true`' in warning
    path = write_rows(tmp_path / "x.jsonl", {"text": f"{ANSWER}{END}", "special": True}, chat(f"{END}?", ANSWER))
    result = ppldelta.score(path, chatting, chatting, progress=False, chat_template=True, windows="every")
    (warning,) = (each for each in result.warnings if "spell" in each)
    assert warning.startswith("Messages spell special tokens of the vocabulary in 1 document")
    assert result.tokens.filter(document="x.jsonl:1")["token"][-1] == Model(chatting, vocab_only=True).info.eos
