"""What the pictures of a pre-training are drawn from: its model, and some of its clips."""

import argparse
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mv2mae_jax.data import loader
from mv2mae_jax.errors import InputError
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Parameters


class Pretrained(NamedTuple):
    """A pre-training run and clips of its training split."""

    config: ConfigDict
    parameters: Parameters
    clips: UInt8[np.ndarray, "B V T H W C"]  # view 0 is the target


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of every picture of a pre-training."""
    parser.add_argument("--workdir", required=True, help="work directory of a pre-training run")
    parser.add_argument("--out", required=True, help="PNG file to write")
    parser.add_argument("--data-dir", help="where the records are; default: as in training")
    parser.add_argument("--samples", type=int, default=2, help="activities to show; default: 2")


def open_pretrained(args: argparse.Namespace) -> Pretrained:
    """The run and the clips that the options name.

    Raises:
      InputError: there is no such run, it has no decoders, or the options are wrong.
    """
    if args.samples < 1 or not str(args.out).endswith(".png"):
        given = f"--samples={args.samples} --out={args.out}"
        raise InputError(f"{given}; they are 1 or more, and a .png file")
    parameters, config = load_parameters(args.workdir)
    if "mask_token" not in parameters:
        raise InputError(f"{args.workdir} has no decoders; name the --workdir of a pre-training")
    config.data.data_dir = args.data_dir or config.data.data_dir
    config.batch_size = args.samples
    with loader.pretraining_batches(config) as batches:
        clips = next(batches)["clips"][:: config.data.repeats]
    return Pretrained(config, parameters, clips)
