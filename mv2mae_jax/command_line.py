"""The parser of every command's arguments but `main`'s, whose flags are absl's; commands run."""

import argparse
import contextlib
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mv2mae_jax.errors import InputError, did_you_mean
from mv2mae_jax.storage import to_local_path


class Parser(argparse.ArgumentParser):
    """Shows a module's docstring, with its examples, as it is; suggests what a choice might be."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:  # Python's versions quote what can be chosen differently
            message += did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        super().error(message)


def number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """A parser of numbers from `low` to `high`, for an argument's `type`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(low) - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return value

    return parse


def local_path(instead: str) -> Callable[[str], Path]:
    """A parser of paths on this machine, for an argument's `type`; `instead` as `to_local_path`."""

    def parse(text: str) -> Path:
        try:
            return to_local_path(text, instead)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def written_as(*suffixes: str) -> Callable[[str], str]:
    """A parser of files to write, whose names end in one of these, for an argument's `type`."""

    def parse(text: str) -> str:
        if not text.endswith(suffixes):
            raise argparse.ArgumentTypeError(f"{text}: its suffix is one of {', '.join(suffixes)}")
        return text

    return parse


picture = written_as(".png", ".pdf", ".svg")
written_path = local_path("work here, then copy: gcloud storage cp -r ... gs://...")


def run(what: str, module: str, *args: str) -> None:
    """Shows and runs one command of the package.

    Ctrl-C is the command's to answer, which gets it too: it saves, and at a second one ends.

    Raises:
      subprocess.CalledProcessError: it failed, and has said why; one that a signal has killed
        says nothing, and is named here.
    """
    command = ["-m", f"mv2mae_jax.{module}", *args]
    print(f"\n# {what}\n$ python {shlex.join(command)}", flush=True)
    process = subprocess.Popen([sys.executable, *command])
    while process.returncode is None:
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
    code = process.returncode
    if code < 0:
        name = signal.Signals(-code).name
        print(f"error: it was killed ({name}); started again, this continues", file=sys.stderr)
        code = 128 - code
    if code:
        raise subprocess.CalledProcessError(code, command)
