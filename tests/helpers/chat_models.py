"""Models of the demo with a chat template, and templates that do what those of real models do."""

from __future__ import annotations

from pathlib import Path

import gguf
from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

from ppldelta import demo

END = "<|end_of_text|>"
"""A control token of the demo's vocabulary."""

SIMPLE = (
    "{% for m in messages %}\n"
    "    {% if m['role'] == 'system' and not loop.first %}\n"
    "{{ raise_exception('A system message comes first.') }}{% endif %}\n"
    "{{ m['role'] }}:\n"
    "{{ m['content'] | trim }}<|end_of_text|>\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
"""A template for the demo's vocabulary: roles in words, an end-of-text token behind each message."""

TEMPLATES = {
    "default system": (
        "{%- for message in messages -%}"
        "{%- if loop.first and message.role != 'system' -%}{{ '<|a|>system\\nBe brief.<|b|>\\n' }}{%- endif -%}"
        "{{ '<|a|>' + message.role + '\\n' + message['content'] + '<|b|>' + '\\n' }}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|a|>assistant\\n' }}{%- endif -%}"
    ),
    "roles renamed, turns alternate": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}\n"
        "{% for m in rest %}\n"
        "  {% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
        "{{ raise_exception('Turns must alternate.') }}{% endif %}\n"
        "  {% set role = 'model' if m['role'] == 'assistant' else m['role'] %}\n"
        "{{ '<turn>' ~ role ~ '\\n' ~ (first if loop.first else '') ~ m['content'] | trim ~ '</turn>\\n' }}\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}"
    ),
    "instructions in brackets": (
        "{%- set ns = namespace(system=false) -%}"
        "{%- for m in messages if m.role == 'system' -%}{%- set ns.system = m.content -%}{%- endfor -%}"
        "{{- bos_token -}}"
        "{%- for m in messages | rejectattr('role', 'equalto', 'system') -%}"
        "{%- if m.role == 'user' -%}[INST] {% if ns.system and loop.first %}"
        "<<SYS>>\n{{ ns.system }}\n<</SYS>>\n\n{% endif %}"
        "{{ m.content.strip() }} [/INST]"
        "{%- else -%}{{ ' ' + m.content.strip() + ' ' + eos_token }}{%- endif -%}{%- endfor -%}"
    ),
    "a date, tools, a macro": (
        "{% macro head(role) %}<|h|>{{ role }}<|/h|>\n\n{% endmacro %}\n"
        "{% if strftime_now is defined %}{% set date = strftime_now('%d %b %Y') %}{% endif %}\n"
        "{{ bos_token }}{{ head('system') }}Today: {{ date }}{% if tools is not none %} tools{% endif %}\n"
        "{% for message in messages %}\n"
        "{{ head(message.role) + (message.content | trim) + '<|eot|>' }}\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}{{ head('assistant') }}{% endif %}"
    ),
    "thoughts are cut": (
        "{%- for m in messages -%}{%- set text = m.content.split('</think>')[-1].lstrip('\\n') -%}"
        "{{- '<|a|>' ~ m.role ~ '\\n' -}}"
        "{%- if m.role == 'assistant' and loop.last -%}{{- m.content -}}{%- else -%}{{- text -}}{%- endif -%}"
        "{{- '<|b|>\\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|a|>assistant\\n' -}}{%- endif -%}"
    ),
}
"""Written for the tests, each with what some family's template does."""


def with_template(path: Path, template: str, model: Path = demo.REFERENCE) -> Path:
    """A copy of a model of the demo with this chat template."""
    return with_text(path, "tokenizer.chat_template", template, model)


def with_text(path: Path, key: str, text: str, model: Path) -> Path:
    """A copy of a model with one more text in its head."""
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(path, str(reader.fields["general.architecture"].contents()))
    copy_with_new_metadata(reader, writer, {key: MetadataDetails(gguf.GGUFValueType.STRING, text)}, [])
    return path
