"""Frozen-feature probes of a pre-training run, beside a shortcut and the untrained encoder."""

import json
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict
from tabulate import tabulate

from mv2mae_jax.data.probe_videos import balanced
from mv2mae_jax.data.splits import split_videos
from mv2mae_jax.evaluation.features import FrozenEncoder, random_encoder
from mv2mae_jax.evaluation.probes import (
    TokenFeatures,
    motion_map,
    probe_accuracies,
    ridge_accuracy,
    sparse_pixels,
)
from mv2mae_jax.evaluation.video_features import extract
from mv2mae_jax.run_files import PROBE
from mv2mae_jax.storage import to_path, write_whole
from mv2mae_jax.tasks.evaluate import as_trained
from mv2mae_jax.training.checkpoints import load_parameters


def probe(config: ConfigDict, workdir: epath.PathLike) -> None:
    """Fits simple classifiers to the training split, tests them, and writes `probe.json`.

    On the pixels, on the motion map (where something moves: the shortcut to watch; and where at
    which time), on the features of an untrained encoder, and on those of the pre-trained one in
    `workdir`. Of the training split and of `data.evaluate_on`, as many videos as `config.probe`
    says. Of several processes the first does it.
    """
    sizes = config.probe
    parameters, trained = load_parameters(workdir)
    if jax.process_index() > 0:
        return
    config = as_trained(config, trained)
    before, after = random_encoder(config), FrozenEncoder(config, parameters)
    features = (
        sparse_pixels,
        partial(motion_map, patch_size=tuple(config.model.patch_size)),
        before.tokens,
        after.tokens,
    )

    def measure(split: str, count: int) -> list[np.ndarray]:
        return extract(config, balanced(split_videos(config, split), count), features)

    train = measure("train", sizes.train_videos)
    test = measure(config.data.evaluate_on, sizes.test_videos)
    labels = train[0], test[0]

    def linear(number: int, reduce: Callable[[np.ndarray], np.ndarray]) -> float:
        return ridge_accuracy(reduce(train[number]), labels[0], reduce(test[number]), labels[1])

    def flat(values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1)

    results = {
        "split": config.data.evaluate_on,
        "protocol": config.data.protocol,
        "num_train_videos": len(labels[0]),
        "num_videos": len(labels[1]),
        "chance": 1 / len(np.unique(labels[0])),
        "pixels": linear(1, flat),
        "motion_map": linear(2, lambda motion: motion.mean(axis=1)),
        "motion_map_over_time": linear(2, flat),
    }
    for when, number in (("before", 3), ("after", 4)):
        accuracies = probe_accuracies(*(TokenFeatures(x[number], x[0]) for x in (train, test)))
        results[f"tokens_{when}"] = accuracies.pop("ridge")
        results |= {f"{name}_{when}": value for name, value in accuracies.items()}
    write_whole(to_path(workdir) / PROBE, json.dumps(results, indent=2) + "\n")
    shown = [key for key, value in results.items() if isinstance(value, float)]
    print(tabulate([[key, f"{results[key]:.1%}"] for key in shown], tablefmt="plain"))
