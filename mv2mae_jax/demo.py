"""The main job on the embedded data set, from rendered videos to a table.

python -m mv2mae_jax.demo [--out build/demo] [--seeds 1]

Runs the commands that one would run on one's own data, shows each, and prints what they found.
Started again, it continues where it stopped.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from mv2mae_jax.command_line import Parser, number, run, written_path
from mv2mae_jax.run_files import read_probe, read_results

CONFIG = "configs/mannequin.py"
PICTURES = ("motion", "reconstruction", "attention")
REPORTS = {"pretrain-0": "report.html", "finetune-0": "report-finetune.html"}


def main() -> int:
    """Runs everything; returns the exit code."""
    parser = Parser(prog="python -m mv2mae_jax.demo", description=__doc__)
    parser.add_argument(
        "--out", type=written_path, default=Path("build/demo"), help="takes all files"
    )
    parser.add_argument(
        "--seeds", type=number(int, 1, 1000), default=1, help="repeats training with other seeds"
    )
    args = parser.parse_args()
    started = time.perf_counter()
    out = args.out
    try:
        run(
            "render three cameras, build records",
            *("prepare", "mannequin", f"--raw-dir={out / 'raw'}", f"--data-dir={out / 'data'}"),
            "--short-side=64",  # crops of 56 pixels are 56 to 64 high
        )
        results = [train_and_test(out, seed) for seed in range(args.seeds)]
        for picture in PICTURES:
            run(
                f"draw {picture}",
                *("visualize", picture, f"--workdir={out / 'pretrain-0'}"),
                f"--out={out / f'{picture}.png'}",
            )
        for workdir, page in REPORTS.items():
            run(
                f"a page to explore {workdir} in a browser",
                *("visualize", "report", f"--workdir={out / workdir}", f"--out={out / page}"),
            )
    except subprocess.CalledProcessError as error:
        return error.returncode
    print(f"\nTop-1 accuracy on camera 1, which no training has seen ({args.seeds} seed(s)):\n")
    print(table(results))
    print(f"\nPictures: {', '.join(str(out / f'{picture}.png') for picture in PICTURES)}")
    print(f"To open in a browser: {', '.join(str(out / page) for page in REPORTS.values())}")
    print(f"Time: {(time.perf_counter() - started) / 60:.1f} minutes")
    return 0


def train_and_test(out: Path, seed: int) -> dict[str, float]:
    """Pre-trains, probes, fine-tunes, and trains the same classifier from scratch."""
    common = (f"--config.data.data_dir={out / 'data'}", f"--config.seed={seed}")
    pretrained = out / f"pretrain-{seed}"
    finetuned, scratch = out / f"finetune-{seed}", out / f"scratch-{seed}"
    start = ("main", f"--config={CONFIG}")
    run("pre-train on cameras 2 and 3, without labels", *start, f"--workdir={pretrained}", *common)
    probe = ("main", f"--config={CONFIG}:probe")
    run("probes of the frozen encoder", *probe, f"--workdir={pretrained}", *common)
    finetune = ("main", f"--config={CONFIG}:finetune")
    init = f"--config.finetune.init_from={pretrained}"
    run("fine-tune with labels", *finetune, f"--workdir={finetuned}", init, *common)
    run("the same from scratch", *finetune, f"--workdir={scratch}", *common)
    probes = read_probe(pretrained)
    results = {x: read_results(x)["top1_single_view"] for x in (finetuned, scratch)}
    return {
        "chance": probes["chance"],
        "linear classifier on the motion map": probes["motion_map"],
        "linear classifier on the motion map over time": probes["motion_map_over_time"],
        "fine-tuned from scratch": results[scratch],
        "fine-tuned from pre-training": results[finetuned],
        "token probe before pre-training": probes["tokens_before"],
        "token probe after pre-training": probes["tokens_after"],
        "logistic regression before": probes["logistic_before"],
        "logistic regression after": probes["logistic_after"],
        "nearest neighbours before": probes["knn_before"],
        "nearest neighbours after": probes["knn_after"],
    }


def table(results: list[dict[str, float]]) -> str:
    """Mean over the seeds, and every seed's value where there are several."""
    rows = []
    for name in results[0]:
        values = [result[name] for result in results]
        row = [name, f"{np.mean(values):.1%}"]
        rows.append(row + [f"{value:.1%}" for value in values] * (len(values) > 1))
    seeds = [f"seed {seed}" for seed in range(len(results))] * (len(results) > 1)
    return tabulate(rows, headers=["", "accuracy", *seeds], tablefmt="github")


if __name__ == "__main__":
    sys.exit(main())
