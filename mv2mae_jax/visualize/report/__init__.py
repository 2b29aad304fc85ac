"""One page to explore a run in a browser: summary, curves, results, and clips to play with.

python -m mv2mae_jax.visualize report --workdir=runs/pretrain --out=report.html

The page is one file and loads nothing. Of a run with a cross-view decoder it shows clips at
several mask ratios, what both decoders make of them, and where any tubelet looks in the source
view, for every block and head.
"""

import argparse

from mv2mae_jax.errors import InputError
from mv2mae_jax.storage import to_path, write_out
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.visualize.report.clips import explorer
from mv2mae_jax.visualize.report.page import html
from mv2mae_jax.visualize.report.run import summary

__all__ = ["add_options", "draw"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the page."""
    parser.add_argument("--workdir", required=True, help="work directory of a training run")
    parser.add_argument("--out", required=True, help="HTML file to write")
    parser.add_argument("--data-dir", help="where the records are; default: as in training")
    parser.add_argument(
        "--samples", type=int, help="activities to explore; default: up to 6, as fit in the page"
    )


def draw(args: argparse.Namespace) -> None:
    """Writes the page.

    Raises:
      InputError: there is no such run, its files are damaged, or the options are wrong.
    """
    if not str(args.out).endswith(".html"):
        raise InputError(f"--out={args.out}; it is an .html file")
    parameters, config = load_parameters(args.workdir)
    config.data.data_dir = args.data_dir or config.data.data_dir
    page = html(
        {
            "run": summary(args.workdir, config, parameters),
            "explorer": explorer(config, parameters, args.samples),
        }
    )
    write_out(to_path(args.out), page)
