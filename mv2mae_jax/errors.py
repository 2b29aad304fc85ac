"""The one exception that stands for a mistake of the user's, not of the program's."""

import difflib
import sys
import unicodedata
from collections.abc import Iterable
from typing import TypeGuard

JOINERS = "\u200c\u200d"  # as Persian and emoji have them

FAILED, WRONG_USAGE = 1, 2  # exit codes
LOST = 75  # another process; started again, the same command continues (EX_TEMPFAIL of sysexits.h)


class InputError(ValueError):
    """Something given to the program is wrong: one line says what, where and what to do.

    Entry points print the message and exit with 1 (wrong usage: 2); no traceback is shown. What it
    quotes may be anything: the message is made one line of characters that can be printed.
    """

    def __init__(self, message: object) -> None:
        super().__init__(one_line(message))


def is_name(value: object) -> TypeGuard[str]:
    """Whether something that was read can stand in tables and pictures.

    Nothing in it breaks a line or steers a terminal; spaces of all scripts and the joiners of
    letters may be there.
    """
    return isinstance(value, str) and all(
        c.isprintable() or c in JOINERS or unicodedata.category(c) == "Zs" for c in value
    )


def one_line(message: object) -> str:
    """A text, or that of an exception, without line breaks and what would steer a terminal."""
    text = " ".join(str(message).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def failed(error: Exception) -> int:
    """Says in one line why a command ends; returns its exit code."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    return FAILED


def reason(error: BaseException) -> str:
    """What an exception of a library says, in one line, or its type where it says nothing."""
    return one_line(error) or type(error).__name__


def lacking_memory(error: BaseException) -> str:
    """What a device lacks, in the words of XLA; empty for any other error of its."""
    what = str(error).partition("RESOURCE_EXHAUSTED: ")[2]
    return what.partition("\n")[0]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known here: the nearest, if one is near."""
    near = difflib.get_close_matches(given, [name for name in known if name != given], n=1)
    return f"; did you mean {near[0]}?" if near else ""
