"""The tables of every field in docs/configs.md, made of configs/base.py when the site is built."""

import ast
import math
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs.structure.pages import Page
from ml_collections import ConfigDict

from configs import base

MARKER = "<!-- every field -->"


@dataclass(frozen=True)
class Field:
    """A field of the config.

    Attributes:
      name: dotted, without `config.`.
      meaning: the comment above it and beside it.
      default: in pre-training.
      finetuning: its value in fine-tuning.
    """

    name: str
    meaning: str
    default: Any
    finetuning: Any


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """MkDocs' hook: puts the tables where the page has the marker."""
    return markdown.replace(MARKER, "\n\n".join(tables()))


def tables() -> Iterator[str]:
    """A heading and a table for each section of the config, in the order of the source."""
    sections: dict[str, list[Field]] = {}
    for field in fields():
        section = field.name.rpartition(".")[0]
        sections.setdefault(section, []).append(field)
    for section, members in sections.items():
        head = f"### `config.{section}`" if section else "### Of the whole run"
        rows = [
            f"| `{field.name}` | {_value(field)} | {_escape(field.meaning)} |" for field in members
        ]
        yield "\n".join([head, "", "| field | default | meaning |", "|---|---|---|", *rows])


def fields() -> list[Field]:
    """Every field, in the order of the source; one without a comment has an empty meaning."""
    source = Path(base.__file__)
    comments = comments_of(source)
    (function,) = (
        node
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "get_config"
    )
    config, finetuning = base.get_config(), base.get_config()
    base.set_finetuning(finetuning)
    sections = {"config": ""}  # local name to dotted name
    found = []
    for node in function.body:
        match node:
            case ast.Assign(targets=[ast.Attribute(ast.Name(above), field), *local]):
                name = f"{sections[above]}.{field}".removeprefix(".")
                value, other = _get(config, name), _get(finetuning, name)
                if isinstance(value, ConfigDict):
                    sections[ast.unparse(local[0])] = name
                else:
                    found.append(Field(name, comments.get(node.lineno, ""), value, other))
    return found


def comments_of(source: Path) -> dict[int, str]:
    """Line to the comment on it; one that has a line to itself is of the next line too."""
    comments: dict[int, str] = {}
    with tokenize.open(source) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                line, text = token.start[0], token.string.lstrip("# ")
                comments[line] = f"{comments.get(line, '')} {text}".lstrip()
                if token.line.strip() == token.string:
                    comments[line + 1] = comments[line]
    return comments


def _get(config: ConfigDict, name: str) -> Any:
    for part in name.split("."):
        config = config[part]
    return config


def _value(field: Field) -> str:
    if field.finetuning == field.default:
        return f"`{_literal(field.default)}`"
    return f"`{_literal(field.default)}`, in fine-tuning `{_literal(field.finetuning)}`"


def _literal(value: Any) -> str:
    """As one writes it behind `--config.name=`."""
    if isinstance(value, tuple):
        return f"({','.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3g}" if value != int(value) else f"{value:.1f}"
    return str(value) if not isinstance(value, str) else repr(value)


def _escape(text: str) -> str:
    """A bar divides cells of a table."""
    return text.replace("|", "\\|")
