"""What people are told of a build: a prediction before it, a report after it."""

import dataclasses
import itertools
from collections.abc import Sequence

from mv2mae_jax.errors import one_line
from tfds_builders.encoding import Encoded
from tfds_builders.manifest import Row, Unused

Activity = tuple[tuple[Row, ...], Encoded]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a build will take, judged from a sample of the activities.

    Attributes:
      activities: of the manifest.
      videos: of the manifest.
      sampled: activities that the prediction rests on.
      seconds: to encode what is not encoded yet.
      bytes: of all frames, which is about the size of the records.
      free: on the disk that takes the records, in bytes.
      jobs: processes that decode.
    """

    activities: int
    videos: int
    sampled: int
    seconds: float
    bytes: int
    free: int
    jobs: int

    @property
    def needed(self) -> int:
        """Bytes on the disk while the build runs: encoded frames are kept until the records end."""
        return 2 * self.bytes

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.videos:,} videos of {self.activities:,} activities; judged from "
            f"{self.sampled}: {duration(self.seconds)} more in {self.jobs} processes, "
            f"{size(self.bytes)} of records, {size(self.needed)} of disk while it runs, "
            f"{size(self.free)} free"
        )


@dataclasses.dataclass(frozen=True)
class Report:
    """What a build did; `report.json` holds the same.

    Attributes:
      activities: in the records.
      views: in the records.
      frames: in the records.
      bytes: of all frames.
      seconds: taken by this run.
      resumed: activities that an earlier, interrupted run had encoded.
      frames_per_second: of this run, over all processes, from video to JPEG.
      broken: videos that could not be used.
      dropped: activities left without a single good view.
      uneven: activities whose views differ in length by more than 10 %.
      apart: activities whose views are out of step by their time stamps.
      unused: what was found and belongs to no activity: videos, archives, lines of labels.
    """

    activities: int
    views: int
    frames: int
    bytes: int
    seconds: float
    resumed: int
    frames_per_second: float
    broken: tuple[Unused, ...]
    dropped: tuple[str, ...]
    uneven: tuple[str, ...]
    apart: tuple[str, ...]
    unused: tuple[Unused, ...]

    def __str__(self) -> str:
        """The report as people read it, one fact a line."""
        lines = [f"could not use {one_line(item.path)}: {item.reason}" for item in self.broken]
        lines += [f"no good view left, activity dropped: {name}" for name in self.dropped]
        lines += [f"views differ in length: {item}" for item in self.uneven]
        lines += [f"views out of step by their time stamps: {item}" for item in self.apart]
        lines += [f"not read: {one_line(item.path)}: {item.reason}" for item in self.unused]
        lines.append(
            f"{self.activities} activities, {self.views} views, {self.frames} frames, "
            f"{self.bytes / 1e6:.1f} MB, {self.seconds:.0f} s, "
            f"{self.frames_per_second:.0f} frames/s"
            + (f" ({self.resumed} activities from an earlier run)" if self.resumed else "")
        )
        return "\n".join(lines)


def summarize(
    activities: Sequence[Activity], unused: tuple[Unused, ...], resumed: int, rate: float
) -> Report:
    """The report of a build, but for the seconds it took.

    Args:
      activities: all of the manifest, encoded.
      unused: files that belong to no row.
      resumed: activities that an earlier run had encoded.
      rate: frames a second of this run.
    """
    usable = [(rows, encoded) for rows, encoded in activities if encoded.views]
    broken = itertools.chain.from_iterable(encoded.broken for _, encoded in activities)
    return Report(
        activities=len(usable),
        views=sum(len(encoded.views) for _, encoded in usable),
        frames=sum(sum(encoded.views.values()) for _, encoded in usable),
        bytes=sum(encoded.size for _, encoded in usable),
        seconds=0.0,
        resumed=resumed,
        frames_per_second=round(rate, 1),
        broken=tuple(dict.fromkeys(broken)),  # a video cut into several activities is named once
        dropped=tuple(rows[0].activity for rows, encoded in activities if not encoded.views),
        uneven=tuple(
            f"{rows[0].activity}: {encoded.views}"
            for rows, encoded in usable
            if min(encoded.views.values()) < 0.9 * max(encoded.views.values())
        ),
        apart=tuple(
            f"{rows[0].activity}: {item}" for rows, encoded in usable for item in encoded.apart
        ),
        unused=unused,
    )


def duration(seconds: float) -> str:
    """A time to wait, as people say it: 40 s, 12 min, 5.2 h."""
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as people say them: 5.4 MB, 41.0 GB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
