"""The paper's claims on rendered people: runs every row, judges every comparison.

python -m mv2mae_jax.reproduce --scale=cpu
python -m mv2mae_jax.reproduce --scale=cpu --seeds=5 --groups xview labels
python -m mv2mae_jax.reproduce --scale=cpu --staging=alone --groups xview temperature
python -m mv2mae_jax.reproduce --scale=cpu --seeds=0

After every row it writes results.jsonl, tables (results.md) and pictures into --out. Started again,
it continues where it stopped; with --seeds=0 it only draws what is there. What is compared, and
what the paper predicts: docs/reproduction.md.
"""

import itertools
import subprocess
import sys
from pathlib import Path

from configs.reproduction import SCALES
from mv2mae_jax.command_line import Parser, number, written_path
from mv2mae_jax.errors import InputError, failed
from mv2mae_jax.reproduce.document import write
from mv2mae_jax.reproduce.rows import GROUPS
from mv2mae_jax.reproduce.runs import prepare, read_findings, run_missing

STAGINGS = ("roaming", "alone")  # of which linear classifiers read little (docs/reproduction.md)


def main() -> int:
    """Runs everything; returns the exit code."""
    parser = Parser(prog="python -m mv2mae_jax.reproduce", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, required=True, help="of configs/reproduction.py")
    parser.add_argument(
        "--staging", choices=STAGINGS, default="roaming",
        help="of the mannequin; in `alone` nothing but people moves (default roaming)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=written_path, help="takes all files; build/reproduction-SCALE-STAGING"
    )
    parser.add_argument(
        "--seeds", type=number(int, 0, 1000), default=3, help="of every row, from 0"
    )
    parser.add_argument(
        "--groups", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP",
        help=f"of rows: {', '.join(GROUPS)}; all of them",
    )  # fmt: skip
    args = parser.parse_args()
    out = args.out or Path(f"build/reproduction-{args.scale}-{args.staging}")
    try:
        if args.seeds > 0:
            prepare(out, args.staging)
        for group, seed in itertools.product(args.groups, range(args.seeds)):
            for row in GROUPS[group]:  # what is compared is run with one seed before the next
                if run_missing(row, args.scale, seed, out):
                    write(read_findings(out / "results.jsonl"), out)
        findings = read_findings(out / "results.jsonl")
        if not findings:
            raise InputError(f"{out} has no results to draw; run rows with --seeds=1 or more")
        write(findings, out)
    except subprocess.CalledProcessError as error:
        return error.returncode
    except (InputError, OSError) as error:
        return failed(error)
    print((out / "results.md").read_text(encoding="utf-8"))
    print(f"Written: {out}/results.jsonl, results.md and its pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
