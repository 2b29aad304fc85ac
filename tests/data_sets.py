"""Small data sets, built by the real builder of what their frames show."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from videos import Frame, write_csv, write_video

from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder

Video = tuple[str, str, str, str, Sequence[Frame]]  # activity, view, label, subject


def build_data_set(folder: Path, name: str, videos: Iterable[Video]) -> Path:
    """Writes videos without loss and builds records of them.

    Args:
      folder: takes the videos and their manifest, videos.csv.
      name: of the data set.
      videos: each is written before the next is made.

    Returns:
      The data directory.
    """
    rows = []
    for activity, view, label, subject, frames in videos:
        path = write_video(folder / f"{activity}-{view}.mkv", frames, "ffv1")
        rows.append((activity, view, path.name, label, subject))
    manifest = write_csv(folder / "videos.csv", rows, "activity,view,path,label,subject")
    Builder(manifest_csv=manifest, name=name, data_dir=folder / "data", jobs=1).build()
    return folder / "data"
