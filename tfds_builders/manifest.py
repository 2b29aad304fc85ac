"""What a data set is before it is built: one row per video of one view of one activity."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Row:
    """One view of one activity.

    Attributes:
      activity: name of the activity; rows of one activity are its synchronised views.
      view: name of the view, unique within the activity.
      path: video file, relative to the raw directory.
      label: class name.
      subject: who acts; may be empty.
      setup: where it was recorded; may be empty.
      first: first frame used, counted from 0 in the source video.
      last: last frame used, inclusive; None means the end of the video.
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
      rows: one per video; activities have the order of their first rows.
      classes: class names; a label is a position in this list.
      unused: what was found and belongs to no row: videos, archives, lines of labels.
    """

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    unused: tuple[Unused, ...] = ()

    def activities(self) -> list[tuple[Row, ...]]:
        """The rows of each activity, in the order of records."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.activity, []).append(row)
        return [tuple(group) for group in groups.values()]


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key that puts "view 10" after "view 9"."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts)
