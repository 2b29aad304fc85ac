"""What the pictures of a pre-training are drawn from: its model, and some of its clips."""

import argparse
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mv2mae_jax.data import loader
from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.storage import out_path
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Definition, Parameters, split
from mv2mae_jax.visualize.rows import SUFFIXES


class Pretrained(NamedTuple):
    """A pre-training run and clips of its training split."""

    config: ConfigDict
    parameters: Parameters
    clips: UInt8[np.ndarray, "B V T H W C"]  # view 0 is the target


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of every picture of a pre-training."""
    parser.add_argument("--workdir", required=True, help="work directory of a pre-training run")
    parser.add_argument(
        "--out", required=True, help="file to write: .png for a page of frames, .gif or .mp4"
    )
    parser.add_argument("--data-dir", help="where the records are; default: as in training")
    parser.add_argument("--samples", type=int, default=2, help="activities to show; default: 2")


def open_pretrained(args: argparse.Namespace) -> Pretrained:
    """The run and the clips that the options name.

    Raises:
      InputError: there is no such run, it has no decoders, or the options are wrong.
    """
    if not str(args.out).endswith(SUFFIXES):
        raise InputError(f"--out={args.out}; its suffix is one of {', '.join(SUFFIXES)}")
    out_path(args.out)
    parameters, config = load_parameters(args.workdir)
    if "mask_token" not in parameters:
        raise InputError(f"{args.workdir} has no decoders; name the --workdir of a pre-training")
    config.data.data_dir = args.data_dir or config.data.data_dir
    require_samples(config, args.samples)
    return Pretrained(config, parameters, first_clips(config, args.samples))


def require_samples(config: ConfigDict, samples: int) -> None:
    """The run is trained on so many activities.

    Raises:
      InputError: it is not, or its data cannot be used.
    """
    there = loader.num_samples(config)
    if not 1 <= samples <= there:
        raise InputError(f"--samples={samples}; the run is trained on {there:,}: name 1 to so many")


def first_clips(config: ConfigDict, activities: int) -> UInt8[np.ndarray, "B V T H W C"]:
    """The first clips that a run is trained on, of so many activities: always the same.

    Raises:
      InputError: the data cannot give them.
    """
    config = config.copy_and_resolve_references()
    config.batch_size = activities
    config.data.workers = 0  # threads do for so few, and start at once
    with loader.pretraining_batches(config) as batches:
        return next(batches)["clips"][:: config.data.repeats]


def definition_of(config: ConfigDict) -> Definition[MV2MAE]:
    """The model of a run, of which no value is computed."""
    definitions: list[Definition[MV2MAE]] = []  # static, so tracing hands it out by this way
    jax.eval_shape(
        lambda: definitions.append(split(build.pretraining_model(config, nnx.Rngs(0)))[0])
    )
    return definitions[0]


def masked_share(config: ConfigDict) -> str:
    """Of the tubelets, in words."""
    return f"{100 * config.masking.ratio:g}%"


def view_names(views: int) -> list[str]:
    """Of a sample's views: the target comes first."""
    numbers = [""] if views == 2 else [f" {number}" for number in range(1, views)]
    return ["target view", *(f"source view{number}" for number in numbers)]
