"""Frozen-feature probes of a pre-training run, beside a shortcut and the untrained encoder."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict
from tabulate import tabulate

from mv2mae_jax.data import loader
from mv2mae_jax.evaluation.features import FrozenEncoder, random_encoder
from mv2mae_jax.evaluation.probes import motion_map, ridge_accuracy
from mv2mae_jax.tasks.evaluate import as_trained
from mv2mae_jax.training.checkpoints import load_parameters


class Videos(NamedTuple):
    """The centre crop of the middle clip of every video of a split."""

    clips: UInt8[np.ndarray, "V T H W C"]
    labels: Int[np.ndarray, " V"]


def probe(config: ConfigDict, workdir: str | Path) -> None:
    """Fits linear classifiers on the training split, tests them, and writes `probe.json`.

    On the motion map (where something moves: the shortcut to watch; and where at which time), on
    the tokens of an untrained encoder, and on those of the pre-trained one in `workdir`.
    """
    parameters, trained = load_parameters(workdir)
    config = as_trained(config, trained)
    train, test = videos(config, "train"), videos(config, config.data.evaluate_on)

    def accuracy(features: list[np.ndarray]) -> float:
        return ridge_accuracy(features[0], train.labels, features[1], test.labels)

    def tokens(encoder: FrozenEncoder) -> list[np.ndarray]:
        batch = config.evaluation.batch_size
        return [
            np.concatenate(
                [
                    encoder.tokens(clips[i : i + batch]).reshape(len(clips[i : i + batch]), -1)
                    for i in range(0, len(clips), batch)
                ]
            )
            for clips in (train.clips, test.clips)
        ]

    motion = [motion_map(x.clips, tuple(config.model.patch_size)) for x in (train, test)]
    results = {
        "split": config.data.evaluate_on,
        "protocol": config.data.protocol,
        "num_train_videos": len(train.labels),
        "num_videos": len(test.labels),
        "chance": 1 / len(np.unique(train.labels)),
        "motion_map": accuracy([x.mean(axis=1) for x in motion]),
        "motion_map_over_time": accuracy([x.reshape(len(x), -1) for x in motion]),
        "tokens_before": accuracy(tokens(random_encoder(config))),
        "tokens_after": accuracy(tokens(FrozenEncoder(config, parameters))),
    }
    (Path(workdir) / "probe.json").write_text(json.dumps(results, indent=2) + "\n")
    shown = ("chance", "motion_map", "motion_map_over_time", "tokens_before", "tokens_after")
    print(tabulate([[key, f"{results[key]:.1%}"] for key in shown], tablefmt="plain"))


def videos(config: ConfigDict, split: str) -> Videos:
    """All of a split, one clip and one crop each."""
    with loader.evaluation_batches(config, split, clips=1, crops=1) as batches:
        kept = [
            (batch["clips"][batch["valid"], 0], batch["label"][batch["valid"]]) for batch in batches
        ]
    clips, labels = zip(*kept, strict=True)
    return Videos(np.concatenate(clips), np.concatenate(labels))
