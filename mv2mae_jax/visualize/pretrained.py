"""What the pictures of a pre-training are drawn from: its model, and some of its clips."""

import argparse
from functools import partial
from typing import NamedTuple

from ml_collections import ConfigDict

from mv2mae_jax.command_line import number, written_as
from mv2mae_jax.data import loader
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.trained import require_data_set
from mv2mae_jax.model import build
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.model.parts import has
from mv2mae_jax.storage import out_path
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Definition, Parameters, definition_of
from mv2mae_jax.visualize.rows import SUFFIXES
from mv2mae_jax.visualize.training_clips import Clip, first_clips


class Pretrained(NamedTuple):
    """A pre-training run and clips of its training split."""

    config: ConfigDict
    parameters: Parameters
    clips: list[Clip]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of every picture of a pre-training."""
    parser.add_argument("--workdir", required=True, help="work directory of a pre-training run")
    parser.add_argument(
        "--out",
        type=written_as(*SUFFIXES),
        required=True,
        help="file to write: .png for a page of frames, .gif or .mp4",
    )
    parser.add_argument("--data-dir", help="where the records are; default: as in training")
    parser.add_argument(
        "--samples", type=number(int, 1, 10_000), default=2, help="activities to show; default: 2"
    )


def open_pretrained(args: argparse.Namespace) -> Pretrained:
    """The run and the clips that the options name.

    Raises:
      InputError: there is no such run, it has no decoders, or the options are wrong.
    """
    out_path(args.out)
    parameters, config = load_parameters(args.workdir)
    if not has(parameters, "self-view decoder"):
        raise InputError(f"{args.workdir} has no decoders; name the --workdir of a pre-training")
    require_data_set(config, args.workdir, "pre-train from them, and draw that run")
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


def pretraining_definition(config: ConfigDict) -> Definition[MV2MAE]:
    """The model of a run, of which no value is computed."""
    return definition_of(partial(build.pretraining_model, config))


def masked_share(config: ConfigDict) -> str:
    """Of the tubelets, in words."""
    return f"{100 * config.masking.ratio:g}%"
