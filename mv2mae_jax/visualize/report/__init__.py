"""One page to explore a run in a browser: summary, curves, results, and clips to play with.

python -m mv2mae_jax.visualize report --workdir=runs/pretrain --out=report.html

The page is one file and loads nothing. Of a run with a cross-view decoder it shows clips at
several mask ratios, what both decoders make of them, and where any tubelet looks in the source
view, for every block and head.
"""

import argparse
from itertools import accumulate
from typing import Any

from mv2mae_jax.command_line import number, written_as
from mv2mae_jax.errors import InputError
from mv2mae_jax.storage import out_path, write_out
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.visualize.report.clips import explorer
from mv2mae_jax.visualize.report.page import embedded_json, html
from mv2mae_jax.visualize.report.run import summary

__all__ = ["add_options", "draw"]

PAGE_BYTES = 15_000_000  # can be mailed, and a browser opens it at once


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the page."""
    parser.add_argument("--workdir", required=True, help="work directory of a training run")
    parser.add_argument("--out", type=written_as(".html"), required=True, help="HTML file to write")
    parser.add_argument("--data-dir", help="where the records are; default: as in training")
    parser.add_argument(
        "--samples",
        type=number(int, 1, 10_000),
        help="activities to explore; default: up to 6, as fit in the page",
    )


def draw(args: argparse.Namespace) -> None:
    """Writes the page.

    Raises:
      InputError: there is no such run, its files are damaged, or the options are wrong.
    """
    out = out_path(args.out)
    parameters, config = load_parameters(args.workdir)
    config.data.data_dir = args.data_dir or config.data.data_dir
    run = summary(args.workdir, config, parameters)
    shown = explorer(config, parameters, args.samples)
    if "samples" in shown:
        asked, readable = args.samples or 1, len(shown["samples"])
        if readable < asked:
            raise InputError(f"--samples={asked}; of this run's activities {readable} can be read")
        fitting = samples_that_fit(run, shown)
        if fitting < asked:
            raise InputError(
                f"--samples={asked}; of this run {fitting} fit in a page of {PAGE_BYTES / 1e6:g} MB"
            )
        shown["samples"] = shown["samples"][:fitting]
    elif args.samples is not None:
        raise InputError(f"--samples={args.samples}; {shown['reason']}")
    write_out(out, html({"run": run, "explorer": shown}))


def samples_that_fit(run: dict[str, Any], shown: dict[str, Any]) -> int:
    """How many of the samples there is room for in a page, from the first on."""
    rest = len(html({"run": run, "explorer": {**shown, "samples": []}}).encode())
    sizes = [len(embedded_json(sample)) + 1 for sample in shown["samples"]]  # and a comma
    return sum(rest + size - 1 <= PAGE_BYTES for size in accumulate(sizes))  # none after the last
