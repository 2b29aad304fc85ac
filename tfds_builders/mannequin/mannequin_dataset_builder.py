"""Mannequin: rendered videos under NTU's names, read as NTU's are."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from tfds_builders.base import MultiViewBuilder
from tfds_builders.manifest import Manifest
from tfds_builders.mannequin import REPLICATIONS, SEED, STAGING, SUBJECTS
from tfds_builders.mannequin.actions import CLASSES
from tfds_builders.ntu import layout


class Builder(MultiViewBuilder):
    """Builder of the data set `mannequin`."""

    def __init__(
        self,
        *,
        subjects: int = SUBJECTS,
        replications: int = REPLICATIONS,
        seed: int = SEED,
        staging: str = STAGING,
        **kwargs: Any,
    ) -> None:
        """Makes a builder, which renders the videos first if the raw directory lacks them.

        Args:
          subjects: different figures.
          replications: of every action by every subject.
          seed: of everything random in the videos.
          staging: how much is left to chance: a name of `staging.STAGINGS`.
          **kwargs: as for `MultiViewBuilder`.
        """
        self._options: dict[str, Any] = {
            "subjects": subjects,
            "replications": replications,
            "seed": seed,
            "staging": staging,
        }
        super().__init__(**kwargs)

    @property
    def classes(self) -> tuple[str, ...]:
        """The actions that the generator knows."""
        return tuple(CLASSES)

    @property
    def made_with(self) -> dict[str, Any]:
        """All that was chosen: who performs, how often, and how."""
        return self._options

    def manifest(self, raw_dir: Path) -> Manifest:
        """Of all videos, rendered or not, by their names."""
        from tfds_builders.mannequin.generate import check_stamp, files, plan

        options = self._options
        check_stamp(raw_dir, options["seed"], options["staging"])
        activities = plan(options["subjects"], options["replications"], options["seed"])
        videos = [str(file.relative_to(raw_dir)) for file in files(raw_dir, activities)]
        return layout.read(raw_dir, videos, classes=self.classes)

    def make_videos(self, raw_dir: Path) -> None:
        """Renders those that are not there yet."""
        from tfds_builders.mannequin.generate import generate

        with tqdm(desc="rendering mannequin", unit="activity", delay=1) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            generate(raw_dir, **self._options, jobs=self.jobs, progress=show)
