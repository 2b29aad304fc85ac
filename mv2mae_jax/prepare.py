"""Raw synchronised videos become records, which can be verified and looked at.

python -m mv2mae_jax.prepare DATASET --raw-dir DIR --data-dir DIR
python -m mv2mae_jax.prepare mannequin --raw-dir DIR --data-dir DIR
python -m mv2mae_jax.prepare manifest --manifest FILE.csv --name NAME --raw-dir DIR --data-dir DIR
python -m mv2mae_jax.prepare verify --data-dir DIR [--dataset NAME]
python -m mv2mae_jax.prepare show --data-dir DIR --dataset NAME --out FILE.png

DATASET is a downloaded one of those that docs/datasets.md explains. Interrupted, the same command
continues. Exit codes: 0 done, 1 failed, 2 wrong usage; stopped by a signal, 128 + its number.
"""

# Decoding processes import this file: what is heavy is imported where it is used.
import argparse
import functools
import importlib
import re
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mv2mae_jax.command_line import Parser, local_path, number, picture, written_path
from mv2mae_jax.errors import InputError, failed, one_line
from tfds_builders import BUILDERS, DOWNLOADED, MAX_BROKEN, QUALITY, SHORT_SIDE
from tfds_builders.mannequin import REPLICATIONS, SEED, STAGING, SUBJECTS
from tfds_builders.mannequin.staging import STAGINGS

if TYPE_CHECKING:
    from tfds_builders.base import MultiViewBuilder

_read = local_path("copy it here first: gcloud storage cp -r gs://... RAW_DIR")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    args = _parser().parse_args(argv)
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, _stop)
    try:
        return args.command(args)
    except (InputError, OSError) as error:  # OSError: a full disk, a folder that is not writable
        return failed(error)
    except KeyboardInterrupt as stop:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 128 + stop.args[0]


def _build(args: argparse.Namespace) -> int:
    """Says what a build will take, builds, and says what became of it."""
    builder = args.builder(args)
    prediction = builder.predict()
    if prediction is None:
        print(f"{builder.data_path} is complete already")
        return 0
    print(prediction, flush=True)
    if args.dry_run:
        return 0
    try:
        report = builder.build()
    except (InputError, OSError):
        if builder.report:
            print(builder.report)
        raise
    print(f"{report}\nwritten to {builder.data_path}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Reads records back, of one data set or all; names what is damaged."""
    from mv2mae_jax.data.records import find_datasets, load_index
    from mv2mae_jax.data.verify import verify

    damaged = 0
    for name in [args.dataset] if args.dataset else find_datasets(args.data_dir):
        try:
            index = load_index(args.data_dir, name)
            findings = verify(index)
        except InputError as error:
            if args.dataset:
                raise
            print(one_line(error))  # the other data sets are read all the same
            damaged += 1
            continue
        print("\n".join([*findings, f"{index.folder}: {_outcome(len(findings))}"]))
        damaged += bool(findings)
    if damaged:
        raise InputError("delete what is damaged and build it again")
    return 0


def _outcome(findings: int) -> str:
    return f"{findings} findings" if findings else "every record is as the index says"


def _show(args: argparse.Namespace) -> int:
    """Draws a contact sheet."""
    from mv2mae_jax.data.records import load_index
    from mv2mae_jax.visualize.contact_sheet import contact_sheet

    contact_sheet(load_index(args.data_dir, args.dataset), args.out, args.activities)
    print(f"drawn to {args.out}")
    return 0


def _downloaded(name: str, args: argparse.Namespace) -> "MultiViewBuilder":
    module = importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder")
    return module.Builder(**_common(args))


def _mannequin(args: argparse.Namespace) -> "MultiViewBuilder":
    from tfds_builders.mannequin.mannequin_dataset_builder import Builder

    options = {n: getattr(args, n) for n in ("subjects", "replications", "seed", "staging")}
    return Builder(**options, **_common(args))


def _manifest(args: argparse.Namespace) -> "MultiViewBuilder":
    from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder

    if args.name in BUILDERS:
        raise InputError(
            f"--name={args.name} is a data set with protocols of its own; choose another name"
        )
    return Builder(manifest_csv=args.manifest, name=args.name, **_common(args))


def _common(args: argparse.Namespace) -> dict[str, Any]:
    names = ("raw_dir", "data_dir", "short_side", "quality", "jobs", "max_broken", "beam_options")
    return {name: getattr(args, name) for name in names}


def _parser() -> Parser:
    parser = Parser(prog="python -m mv2mae_jax.prepare", description=__doc__)
    datasets = parser.add_subparsers(metavar="DATASET", required=True)

    def add(name: str, what: str, example: str, parents: Sequence[Parser] = ()) -> Parser:
        about = f"{what}.\n\npython -m mv2mae_jax.prepare {name} {example}"
        return datasets.add_parser(name, help=what, description=about, parents=parents)

    common = Parser(add_help=False)
    common.set_defaults(command=_build)
    common.add_argument("--data-dir", type=written_path, required=True, help="where the records go")
    common.add_argument(
        "--dry-run",
        action="store_true",
        help="stop after the prediction of time and disk, "
        "for which the mannequin is rendered first",
    )
    common.add_argument(
        "--short-side",
        type=number(int, 16, 4320),
        default=SHORT_SIDE,
        help="of the stored frames, in pixels; smaller videos keep their size (default "
        f"{SHORT_SIDE})",
    )
    common.add_argument(
        "--quality",
        type=number(int, 1, 100),
        default=QUALITY,
        help=f"of the JPEGs (default {QUALITY})",
    )
    common.add_argument(
        "--jobs", type=number(int, 1, 4096), help="decoding processes (default: all cores)"
    )
    common.add_argument(
        "--max-broken",
        type=number(float, 0, 1),
        default=MAX_BROKEN,
        help=f"fraction of the videos that may be broken (default {MAX_BROKEN})",
    )
    common.add_argument(
        "--beam-options",
        help="decode by an Apache Beam pipeline instead, with these options in one string",
    )

    for name, title in DOWNLOADED.items():
        downloaded = add(name, title, "--raw-dir RAW --data-dir data", [common])
        downloaded.add_argument(
            "--raw-dir", type=_read, required=True, help="the videos, or above them"
        )
        downloaded.set_defaults(builder=functools.partial(_downloaded, name))

    mannequin = add(
        "mannequin",
        "a rendered figure; makes its own videos",
        "--raw-dir raw --data-dir data --subjects 4",
        [common],
    )
    mannequin.add_argument("--raw-dir", type=_read, required=True, help="where its videos go")
    mannequin.add_argument("--subjects", type=number(int, 1, 999), default=SUBJECTS)
    mannequin.add_argument("--replications", type=int, choices=(1, 2), default=REPLICATIONS)
    mannequin.add_argument("--seed", type=number(int, 0, 2**32 - 1), default=SEED)
    mannequin.add_argument(
        "--staging",
        choices=STAGINGS,
        default=STAGING,
        help="roaming: people stand and act anywhere, while balls bounce; alone: without the balls "
        f"(default {STAGING})",
    )
    mannequin.set_defaults(builder=_mannequin)

    manifest = add(
        "manifest",
        "videos of one's own, listed in a CSV",
        "--manifest videos.csv --name mine --data-dir data",
        [common],
    )
    manifest.add_argument(
        "--manifest",
        type=_read,
        required=True,
        help="CSV: activity,view,path,label[,subject,setup,first,last]",
    )
    manifest.add_argument("--name", type=_name, required=True, help="of the data set")
    manifest.add_argument(
        "--raw-dir", type=_read, help="what the paths are relative to (default: the CSV's folder)"
    )
    manifest.set_defaults(builder=_manifest)

    verify = add("verify", "read records back, name what is damaged", "--data-dir data")
    verify.add_argument("--data-dir", required=True, help="where the records are")
    verify.add_argument("--dataset", type=_name, help="default: all that are there")
    verify.set_defaults(command=_verify)

    show = add(
        "show", "draw a contact sheet", "--data-dir data --dataset ntu --out contact_sheet.png"
    )
    show.add_argument("--data-dir", required=True, help="where the records are")
    show.add_argument("--dataset", type=_name, required=True)
    show.add_argument("--out", type=picture, required=True, help=".png, .pdf or .svg to write")
    show.add_argument("--activities", type=number(int, 1, 100), default=4)
    show.set_defaults(command=_show)
    return parser


def _name(text: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name of small letters, digits and underscores"
        )
    return text


def _stop(signum: int, frame: object) -> None:
    raise KeyboardInterrupt(signum)


if __name__ == "__main__":
    sys.exit(main())
