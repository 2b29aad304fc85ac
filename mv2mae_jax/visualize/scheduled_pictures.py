"""Pictures while pre-training runs, for TensorBoard: always of the same training clips."""

import time
from collections.abc import Callable
from functools import partial

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from mv2mae_jax.model.parts import has
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.training.sharding import on_first_device
from mv2mae_jax.visualize.training_clips import Clip, first_clips

ACTIVITIES = 1


def scheduled_pictures(
    config: ConfigDict, mesh: Mesh
) -> Callable[[Parameters], dict[str, bytes]] | None:
    """Draws the pictures of a run, image files by name; None where none are asked for."""
    return ScheduledPictures(config, mesh) if config.pictures_every_epochs else None


class ScheduledPictures:
    """Motion weights and reconstructions; of a cross-view decoder its attention too."""

    def __init__(self, config: ConfigDict, mesh: Mesh):
        self._config = config
        self._mesh = mesh
        self._clips: list[Clip] = []  # read once

    def __call__(self, parameters: Parameters) -> dict[str, bytes]:
        """JPEG files by name; on the first process only.

        Args:
          parameters: of the pre-training model, wherever they live; all processes call.

        Raises:
          InputError: the clips cannot be read.
        """
        started = time.perf_counter()
        whole = on_first_device(parameters, self._mesh)
        if jax.process_index() > 0:
            return {}
        pictures = self._draw(whole)
        tqdm.write(f"pictures: {', '.join(pictures)} · {time.perf_counter() - started:.1f} s")
        return pictures

    def _draw(self, parameters: Parameters) -> dict[str, bytes]:
        # Here, as drawing takes half a second to import, and a run starts without it.
        from mv2mae_jax.visualize import attention, motion, reconstruction
        from mv2mae_jax.visualize.rows import page

        config = self._config
        self._clips = self._clips or first_clips(config, ACTIVITIES)
        # As PNG they would make the events, which are copied as a whole, several times as large.
        jpeg = partial(page, frame_step=config.model.patch_size[0], kind="jpeg")
        sections = motion.motion_sections(config, self._clips)
        pictures = {"motion": jpeg(sections, note=motion.NOTE)}
        ratios = [config.masking.ratio]
        sections = reconstruction.reconstruction_sections(config, parameters, self._clips, ratios)
        pictures["reconstruction"] = jpeg(sections, note=reconstruction.describe(config, ratios))
        if has(parameters, "cross-view decoder"):
            sections = attention.attention_sections(config, parameters, self._clips)
            pictures["attention"] = jpeg(sections, note=attention.NOTE)
        return pictures
