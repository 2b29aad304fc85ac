"""PKU-MMD II's file names: AaaNnn-V.avi and labels AaaNnn-V.txt, anywhere below the raw directory.

A video is a sequence of many actions by subject N, seen from V: left, middle or right. Each line of
its label file, class,start,end[,confidence], is a segment: one view of one activity.
"""

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfds_builders import layouts
from tfds_builders.files import read_text
from tfds_builders.manifest import Manifest, Row, Unused

NAME = r"A\d\dN\d\d-[LMR]"
EXAMPLE = "A01N01-L.avi"
LABEL_SUFFIXES = (".txt", ".label")
CLASSES = layouts.read_classes("pku_mmd2")


@dataclasses.dataclass(frozen=True)
class Segment:
    """A line of a label file.

    Attributes:
      line: its number.
      label: class name.
      first: first frame, counted from 0.
      last: last frame, inclusive.
    """

    line: int
    label: str
    first: int
    last: int


def read(raw_dir: Path, paths: Iterable[str] | None = None) -> Manifest:
    """Finds all videos with PKU-MMD II's names and cuts them as their label files say.

    The segments of a view are numbered by time. A segment of another view is of the same activity
    if it is of the same class and they share a frame. Where the views do not list the same classes,
    the list of most views counts (of equals the longest, then the first of L, M, R); a segment
    without a counterpart in it is left out and named.

    Args:
      raw_dir: any directory above the videos and the label files; folders do not matter.
      paths: files to read, relative to `raw_dir`; None: all that look like videos or labels.

    Returns:
      The manifest: activities A01N01S001 ... sorted by name, views "L", "M", "R".

    Raises:
      InputError: there is no such video with labels, or a video or a label file twice.
    """
    files = layouts.list_files(raw_dir, paths)
    found, misnamed = layouts.match_names(filter(layouts.is_video, files.paths), NAME, EXAMPLE)
    unused = files.unused + misnamed
    videos = _by_name(raw_dir, found)
    texts = (path for path in files.paths if path.lower().endswith(LABEL_SUFFIXES))
    labels = _by_name(raw_dir, layouts.match_names(texts, NAME, EXAMPLE)[0])
    unused += [
        Unused(videos[name], "it has no label file")
        for name in sorted(videos.keys() - labels.keys())
    ]
    unused += [
        Unused(labels[name], "it has no video") for name in sorted(labels.keys() - videos.keys())
    ]
    rows = []
    names = sorted(videos.keys() & labels.keys())
    for sequence, views in itertools.groupby(names, lambda name: name.partition("-")[0]):
        segments: dict[str, list[Segment]] = {}
        for name in views:
            segments[name], reasons = _read_segments(read_text(raw_dir / labels[name]))
            unused += [Unused(labels[name], reason) for reason in reasons]
        for name, segment, number in _number(segments):
            if number is None:
                reason = f"line {segment.line}: {segment.label!r} is not in the other views then"
                unused.append(Unused(labels[name], reason))
                continue
            rows.append(
                Row(
                    activity=f"{sequence}S{number:03}",
                    view=name[-1],
                    path=videos[name],
                    label=segment.label,
                    subject=str(int(sequence[-2:])),
                    first=segment.first,
                    last=segment.last,
                )
            )
    return layouts.make_manifest(raw_dir, rows, CLASSES, unused, EXAMPLE)


def _by_name(raw_dir: Path, found: Iterable[tuple[str, re.Match[str]]]) -> dict[str, str]:
    return layouts.unique_paths(raw_dir, ((PurePosixPath(path).stem, path) for path, _ in found))


def _read_segments(text: str) -> tuple[list[Segment], list[str]]:
    """The segments of a label file in order of time, and what is wrong with its other lines."""
    numbered = dict(enumerate(CLASSES, 1))
    segments, reasons = [], []
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(,[^,]*)?", content, re.ASCII)
        if match is None:
            reasons.append(f"line {line}: {content[:40]!r} is not class,start,end,confidence")
            continue
        # Taken to be counted from 1, which is not confirmed. If it is 0, a segment is cut out one
        # frame early; the other way round, the last one could end after the video.
        first, last = sorted(max(0, int(frame) - 1) for frame in match.group(2, 3))
        try:
            label = layouts.class_of(numbered, int(match[1]))
        except layouts.Misfit as misfit:
            reasons.append(f"line {line}: {misfit}")
            continue
        segments.append(Segment(line, label, first, last))
    if not segments:
        reasons.append("it lists no segment, so its video is not used")
    return sorted(segments, key=lambda segment: segment.first), reasons


def _number(
    views: Mapping[str, Sequence[Segment]],
) -> Iterable[tuple[str, Segment, int | None]]:
    """Each segment of each view with the number of its activity, from 1; None: of no activity."""
    classes = {view: tuple(s.label for s in segments) for view, segments in views.items()}
    count = Counter(filter(None, classes.values()))
    if not count:
        return
    most = max(count, key=lambda labels: (count[labels], len(labels)))
    reference = next(segments for view, segments in views.items() if classes[view] == most)
    for view, segments in views.items():
        left = dict(enumerate(reference, 1))
        for segment in segments:
            common = {
                number: min(segment.last, other.last) - max(segment.first, other.first)
                for number, other in left.items()
                if other.label == segment.label
            }
            nearest = max(common, key=lambda number: common[number], default=0)
            if common.get(nearest, -1) < 0:  # it was not done, or at another time
                yield view, segment, None
            else:
                del left[nearest]
                yield view, segment, nearest
