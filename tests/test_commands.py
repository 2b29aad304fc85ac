"""Every command of the documents: its module is there and takes its options, its config builds."""

import argparse
import re
import runpy
import shlex
from collections.abc import Iterator
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from absl import flags
from ml_collections import ConfigDict

from mv2mae_jax import main
from mv2mae_jax.check import check

DOCUMENTS = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
OURS = ("benchmarks", "mv2mae_jax", "tfds_builders")
STANDS_FOR = {"DATASET": "ntu", "PICTURE": "motion", "FILE": "motion.png"}
CODE = re.compile(r"^ {4}.*|(?<!`)`[^`]+`", re.MULTILINE)  # a line of a block, or within a line
(OWN_CONFIG,) = re.findall(
    r"(?s)```python\n(from configs import .*?)```", Path("docs/getting-started.md").read_text()
)


def commands(document: Path) -> Iterator[str]:
    """What follows `python -m `, up to a comment; continued lines are one."""
    text = re.sub(r"\\\n\s*", " ", document.read_text())
    for code in CODE.findall(text):
        for command in re.findall(r"python -m\s+([^`#]+)", code):
            yield " ".join(command.split())


COMMANDS = {
    f"{document.name}: {command}": shlex.split(command)
    for document in DOCUMENTS
    for command in commands(document)
}


class Taken(Exception):
    """A parser has taken the options."""


def test_all_are_found():
    assert len(COMMANDS) > 80
    for document in DOCUMENTS:
        assert len(list(commands(document))) == len(
            re.findall(r"python -m\s", document.read_text())
        )


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_takes_its_options(command: str, monkeypatch: pytest.MonkeyPatch):
    module, *words = COMMANDS[command]
    words = [STANDS_FOR.get(word, word.strip("[]")) for word in words if word != "..."]
    assert find_spec(module)
    if words and module == "mv2mae_jax.main":
        takes_flags(words)
    elif words and module.partition(".")[0] in OURS:
        takes_options(module, words, monkeypatch)


def takes_options(module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the module's own parser; what is required need not be there."""

    def parse(parser: argparse.ArgumentParser, *_: object) -> None:
        make_optional(parser)
        _, unknown = parser.parse_known_args(words)
        assert not unknown
        raise Taken

    spec = find_spec(module)
    if spec.submodule_search_locations:
        spec = find_spec(f"{module}.__main__")
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    with pytest.raises(Taken):
        runpy.run_path(spec.origin, run_name="__main__")


def make_optional(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        action.required = False
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                make_optional(below)


def takes_flags(words: list[str]) -> None:
    """Flags of `main`: the config builds and has the fields."""
    given = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    known = {flag.name for flag in flags.FLAGS.get_flags_for_module(main)}
    config = load(given["config"])
    check(config)
    for name in given:
        section, _, field = name.partition(".")
        assert section in known
        if field:
            reduce(lambda config, name: config[name], field.split("."), config)


def load(given: str) -> ConfigDict:
    """Of a file and its variant; one's own file is in the document that makes it."""
    path, _, variant = given.partition(":")
    names: dict[str, Any] = {}
    exec(OWN_CONFIG if path == "configs/kitchen.py" else Path(path).read_text(), names)
    return names["get_config"](*([variant] if variant else []))
