"""The one exception that stands for a mistake of the user's, not of the program's."""

FAILED, WRONG_USAGE = 1, 2  # exit codes


class InputError(ValueError):
    """Something given to the program is wrong: one line says what, where and what to do.

    Entry points print the message and exit with 1 (wrong usage: 2); no traceback is shown.
    """


def one_line(error: BaseException) -> str:
    """The message of an exception without its line breaks."""
    return " ".join(str(error).split())
