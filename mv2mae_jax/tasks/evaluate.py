"""Testing a classifier: one clip, many clips and crops, and all views of an activity together."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float, Int
from ml_collections import ConfigDict
from tabulate import tabulate
from tqdm import tqdm

from mv2mae_jax.data import loader
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.fusion import accuracy, fuse_views, per_class_accuracy
from mv2mae_jax.model import build
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Parameters, split
from mv2mae_jax.training.sharding import make_mesh, to_devices
from mv2mae_jax.training.step import DeviceBatch


class Predictions(NamedTuple):
    """Of all videos of a split, in the order of the index."""

    probabilities: Float[np.ndarray, "V K"]
    labels: Int[np.ndarray, " V"]
    activities: Int[np.ndarray, " V"]


def evaluate(config: ConfigDict, workdir: str | Path) -> None:
    """Tests the classifier of a fine-tuning work directory and writes `results.json` there.

    Single-clip: the centre crop of the middle clip. Otherwise the mean softmax over
    `evaluation.clips` x `evaluation.crops`; multi-view: over the views of an activity too.

    Raises:
      InputError: no classifier in `workdir`, or one that was trained under another protocol.
    """
    parameters, trained = load_parameters(workdir)
    if "head.kernel" not in parameters:
        raise InputError(f"{workdir} holds no classifier; evaluate the --workdir of a fine-tuning")
    if trained.data.protocol != config.data.protocol:
        raise InputError(
            f"{workdir} was trained under protocol {trained.data.protocol}, testing it under "
            f"{config.data.protocol} would mix training and test data; set config.data.protocol"
        )
    config = as_trained(config, trained)
    clips, crops = config.evaluation.clips, config.evaluation.crops
    single_clip = predict(config, parameters, clips=1, crops=1)
    videos = predict(config, parameters, clips=clips, crops=crops)
    fused, activity_labels = fuse_views(*videos)
    names = loader.class_names(config)
    results = {
        "protocol": config.data.protocol,
        "dataset": config.data.dataset,
        "split": config.data.evaluate_on,
        "top1_single_view": accuracy(videos.probabilities, videos.labels),
        "top1_multi_view": accuracy(fused, activity_labels),
        "top1_single_clip": accuracy(single_clip.probabilities, single_clip.labels),
        "num_videos": len(videos.labels),
        "num_activities": len(activity_labels),
        "num_classes": videos.probabilities.shape[1],
        "clips": clips,
        "crops": crops,
        "per_class_accuracy": {
            names[label]: value
            for label, value in per_class_accuracy(videos.probabilities, videos.labels).items()
        },
    }
    if jax.process_index() == 0:
        (Path(workdir) / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        shown = ("top1_single_clip", "top1_single_view", "top1_multi_view")
        print(tabulate([[key, f"{results[key]:.1%}"] for key in shown], tablefmt="plain"))


def predict(config: ConfigDict, parameters: Parameters, *, clips: int, crops: int) -> Predictions:
    """Mean softmax over the clips and crops of every video of `data.evaluate_on`."""
    mesh = make_mesh(config.mesh.fsdp)
    classes = parameters["head.bias"].shape[0]
    definition, _ = split(build.classifier(config, classes, nnx.Rngs(0)))

    def probabilities(parameters: Parameters, batch: DeviceBatch) -> DeviceBatch:
        model = definition.bind(parameters)

        def one_crop(crop: jax.Array) -> jax.Array:
            return jax.nn.softmax(model(build.clip_patches(config, crop)))

        # One crop of every video at a time: memory does not grow with their number.
        crops = jax.lax.map(one_crop, jnp.swapaxes(batch["clips"], 0, 1))
        return {"probabilities": crops.mean(axis=0)} | {k: batch[k] for k in kept}

    kept = ("label", "activity", "valid")
    predict_batch = jax.jit(probabilities, out_shardings=NamedSharding(mesh, PartitionSpec()))
    split_name = config.data.evaluate_on
    with loader.evaluation_batches(
        config, split_name, clips, crops, jax.process_index(), jax.process_count()
    ) as batches:
        progress = tqdm(batches, desc=f"{split_name}, {clips} x {crops}", disable=None, leave=False)
        outputs = [
            jax.device_get(predict_batch(parameters, to_devices(batch, mesh))) for batch in progress
        ]
    every = {key: np.concatenate([output[key] for output in outputs]) for key in outputs[0]}
    valid = every["valid"]
    return Predictions(
        every["probabilities"][valid], every["label"][valid], every["activity"][valid]
    )


def as_trained(config: ConfigDict, trained: ConfigDict) -> ConfigDict:
    """The config of a trained model, with this command's data directory and way of testing."""
    merged = ConfigDict(trained)
    merged.evaluation = config.evaluation
    merged.mesh = config.mesh
    for field in ("data_dir", "evaluate_on", "workers", "threads"):
        merged.data[field] = config.data[field]
    return merged
