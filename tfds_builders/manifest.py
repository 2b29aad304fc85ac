"""What a data set is before it is built: one row per video of one view of one activity."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Row:
    """One view of one activity.

    Attributes:
        activity: Name of the activity; rows of one activity are its synchronised views.
        view: Name of the view, unique within the activity.
        path: Video file, relative to the raw directory.
        label: Class name.
        subject: Who acts; may be empty.
        setup: Where it was recorded; may be empty.
        first: First frame used, counted from 0 in the source video.
        last: Last frame used, inclusive; None means the end of the video.
    """

    activity: str
    view: str
    path: str
    label: str
    subject: str = ""
    setup: str = ""
    first: int = 0
    last: int | None = None


@dataclasses.dataclass(frozen=True)
class Unused:
    """A file, or a line of one, that a data set holds but no record can use, with the reason."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All that the records are made of.

    Attributes:
        rows: One per video; rows of one activity stand together, in record order.
        classes: Class names; a label is a position in this list.
        unused: What was found and belongs to no row: videos, archives, lines of labels.
    """

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    unused: tuple[Unused, ...] = ()

    def activities(self) -> list[tuple[Row, ...]]:
        """The rows of each activity, in record order."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.activity, []).append(row)
        return [tuple(group) for group in groups.values()]


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key that puts "view 10" after "view 9"."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts)
