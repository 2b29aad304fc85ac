"""Frozen-feature probes of a pre-training run, beside a shortcut and the untrained encoder."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import numpy as np
from etils import epath
from jaxtyping import Int
from ml_collections import ConfigDict
from tabulate import tabulate

from mv2mae_jax.data import splits
from mv2mae_jax.data.probe_videos import chosen
from mv2mae_jax.data.samples import Video
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder, random_encoder
from mv2mae_jax.evaluation.probes import (
    TokenFeatures,
    motion_map,
    probe_predictions,
    ridge_predictions,
    sparse_pixels,
)
from mv2mae_jax.evaluation.trained import as_trained
from mv2mae_jax.evaluation.video_features import extract
from mv2mae_jax.run_files import PROBE, PROBE_PREDICTIONS
from mv2mae_jax.storage import to_path, write_csv, write_whole
from mv2mae_jax.training.checkpoints import load_parameters


def probe(config: ConfigDict, workdir: epath.PathLike) -> None:
    """Fits simple classifiers to the training split and tests them.

    On the pixels, on the motion map (where something moves: the shortcut to watch; and where at
    which time), on the features of an untrained encoder, and on those of the trained one in
    `workdir`, whatever it was trained on. Of the training split and of `data.evaluate_on`, as many
    videos as `config.probe` says; those that are tested are of classes that are fitted.
    `probe.json` has the accuracies, `probe_predictions.csv` what each says about every video. Of
    several processes the first does it.

    Raises:
      InputError: no run in `workdir`, or the data cannot be used as configured.
    """
    parameters, trained = load_parameters(workdir)
    if jax.process_index() > 0:
        return
    config = as_trained(config, trained, workdir)
    if config.data.num_frames < 2:
        raise InputError(f"the clips of {workdir} are single frames, and probes look at what moves")
    tested = config.data.evaluate_on
    before, after = random_encoder(config), FrozenEncoder(config, parameters)
    features = (
        sparse_pixels,
        partial(motion_map, patch_size=tuple(config.model.patch_size)),
        before.tokens,
        after.tokens,
    )

    videos = chosen(config, *(splits.split_videos(config, split) for split in ("train", tested)))
    if len({video.activity.label for video in videos.train}) < 2:
        raise InputError(
            f"the {len(videos.train)} training videos of the probe are of one class, and it "
            "needs two or more; label the data, or raise config.probe.train_videos"
        )
    if not videos.test:
        raise InputError(
            f"no video of the {tested} split is of a class that the probe is fitted to; fit it to "
            "more videos by config.probe.train_videos, or take another protocol"
        )
    labels, *train = extract(config, videos.train, features)
    test_labels, *test = extract(config, videos.test, features)

    def linear(number: int, reduce: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return ridge_predictions(reduce(train[number]), labels, reduce(test[number]))

    def flat(values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1)

    predictions = {
        "pixels": linear(0, flat),
        "motion_map": linear(1, lambda motion: motion.mean(axis=1)),
        "motion_map_over_time": linear(1, flat),
    }
    for when, number in (("before", 2), ("after", 3)):
        found = probe_predictions(TokenFeatures(train[number], labels), test[number])
        predictions |= {f"{name}_{when}": value for name, value in found.items()}
    results = {
        "dataset": config.data.dataset,
        "protocol": config.data.protocol,
        "split": tested,
        "num_train_videos": len(labels),
        "num_videos": len(test_labels),
        "chance": 1 / len(np.unique(labels)),
        **{name: float(np.mean(x == test_labels)) for name, x in predictions.items()},
    }
    write_predictions(
        to_path(workdir) / PROBE_PREDICTIONS,
        videos.test,
        {"label": test_labels, **predictions},
        splits.class_names(config),
    )
    write_whole(to_path(workdir) / PROBE, json.dumps(results, indent=2) + "\n")
    shown = [[key, f"{value:.1%}"] for key, value in results.items() if isinstance(value, float)]
    print(tabulate(shown, tablefmt="plain"))


def write_predictions(
    path: epath.Path,
    videos: Sequence[Video],
    columns: Mapping[str, Int[np.ndarray, " V"]],
    names: Sequence[str],
) -> None:
    """A row for each video: what it is, and what each probe takes it for.

    Args:
      path: CSV file to write.
      videos: of the rows.
      columns: classes of the videos.
      names: of the classes.
    """
    rows = [
        {
            "activity": activity.id,
            "view": view,
            **{name: names[number] for name, number in zip(columns, classes, strict=True)},
        }
        for (activity, view), classes in zip(
            videos, zip(*columns.values(), strict=True), strict=True
        )
    ]
    write_csv(path, rows)
