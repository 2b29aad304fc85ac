"""Data of one's own: a CSV with one row per video, under a name of one's own."""

import os
from pathlib import Path
from typing import Any

from tfds_builders.base import MultiViewBuilder
from tfds_builders.manifest import Manifest
from tfds_builders.manifest_data.layout import read_csv


class Builder(MultiViewBuilder):
    """Builder of a data set that a CSV describes."""

    PATHS_TELL = True

    def __init__(
        self,
        *,
        manifest_csv: str | os.PathLike[str],
        name: str,
        raw_dir: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Reads and checks the CSV.

        Args:
          manifest_csv: CSV of the columns of `tfds_builders.manifest.Row`.
          name: of the data set: its folder in `data_dir`.
          raw_dir: what the paths are relative to; None: the folder of the CSV.
          **kwargs: as for `MultiViewBuilder`.

        Raises:
          InputError: the CSV or a file it names is wrong or missing.
        """
        self.name = name
        raw_dir = Path(manifest_csv).parent if raw_dir is None else Path(raw_dir)
        self._manifest = read_csv(Path(manifest_csv), raw_dir)
        super().__init__(raw_dir=raw_dir, **kwargs)

    @property
    def classes(self) -> tuple[str, ...]:
        """The distinct labels, sorted, numbers by their value."""
        return self._manifest.classes

    def manifest(self, raw_dir: Path) -> Manifest:
        """What the CSV says."""
        return self._manifest
