"""RoCoG-v2's file names: real|syn/ground|air/CLASS/NAME.mp4, anywhere below the raw directory.

Names of real clips hold the subject, ground or hover (the air) and the number of the class; names
of synthetic ones the scene and the name of the class, so that only their folders say whether they
are seen from the ground or the air. Clips are not synchronised: each is an activity of one view.
"""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tfds_builders import layouts
from tfds_builders.manifest import Manifest, Row

NAME = (
    r"(?:(?P<subject>S\d+[a-z]?)_\d+m_(?P<seen>ground|hover)(?:_\d+)?_label(?P<label>\d+)_start\d+"
    r"|Scene(?P<scene>\d+)_\d+_(?:S\d+_)?(?P<name>[A-Za-z]+)(?:_R\d+_\d+)?(?:_\d+){6})"
)
CLASSES = layouts.read_classes("rocog_v2")


def read(raw_dir: Path, paths: Iterable[str] | None = None) -> Manifest:
    """Finds all clips with RoCoG-v2's names.

    Args:
      raw_dir: any directory above the clips; of the folders below it, `ground` or `air` has to
        be there for synthetic clips, as part of a folder's name at least (syn_air/).
      paths: files to read, relative to `raw_dir`; None: all that look like videos.

    Returns:
      The manifest: one row per clip, view "ground" or "air", setup "real" or "syn"; the subject
      of a synthetic clip is its scene, "scene12".

    Raises:
      InputError: there is no such clip, or the same twice.
    """
    return layouts.read_videos(
        raw_dir, NAME, "S01_10m_ground_label5_start1462.mp4", _to_row, CLASSES, paths
    )


def _to_row(path: str, match: re.Match[str]) -> Row:
    folders = PurePosixPath(path).parent.parts
    if match["scene"]:
        setup, subject, label = "syn", f"scene{match['scene']}", match["name"]
        words = re.findall("(?<![a-z])(?:ground|air)(?![a-z])", "/".join(folders).lower())
        if not words:
            raise layouts.Misfit("no folder says whether it is seen from the ground or the air")
        view = words[-1]
        if label not in CLASSES:
            raise layouts.Misfit(f"there is no class {label}")
    else:
        setup, subject = "real", match["subject"]
        view = "air" if match["seen"] == "hover" else "ground"
        label = layouts.class_of(dict(enumerate(CLASSES, 1)), int(match["label"]))
    for folder in folders:
        if folder in CLASSES and folder != label:
            raise layouts.Misfit(f"its name says {label}, its folder {folder}")
    return Row(
        activity=f"{setup}_{view}_{PurePosixPath(path).stem}",
        view=view,
        path=path,
        label=label,
        subject=subject,
        setup=setup,
    )
