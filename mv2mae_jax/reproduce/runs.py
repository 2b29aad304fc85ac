"""Runs rows, one at a time, by the commands that a user would give, and keeps what they found."""

import hashlib
import json
import operator
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from configs import base, reproduction
from mv2mae_jax.check import fields
from mv2mae_jax.command_line import run
from mv2mae_jax.data.records import fingerprint
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.fusion import fuse_views
from mv2mae_jax.processes import usable_cores
from mv2mae_jax.reproduce.rows import FRACTION, Metric, Overrides, Row, folder
from mv2mae_jax.run_files import read_predictions, read_probe, read_probe_predictions
from mv2mae_jax.storage import write_whole
from mv2mae_jax.training.compile_cache import processor
from mv2mae_jax.training.workdir import FREE_FIELDS

CONFIG = "configs/reproduction.py"
SUBJECTS, SHORT_SIDE = 40, 64  # crops of 56 pixels are 56 to 64 high
MEASURING = (  # may differ when a run is continued, but not between findings
    "data.evaluate_on",
    "evaluation.clips",
    "evaluation.crops",
    "probe.train_videos",
    "probe.test_videos",
)
# Where a run is, not what it computes.
UNHASHED = (*(set(FREE_FIELDS) - set(MEASURING)), "finetune.init_from")


class Finding(NamedTuple):
    """What one row with one seed found; a line of `results.jsonl`.

    Attributes:
      row: its name.
      protocol: of the row.
      scale: of the config.
      seed: of everything random.
      configs: hash of the config of each task.
      data: fingerprint of the data set.
      machine: versions, kind of device, `compile_cache.processor` and its cores: others round
        otherwise, and training magnifies it.
      minutes: that each task took; of one that was continued, its last part.
      top1: accuracies on the test split, by metric; without a probe, none of it.
      correct: by metric, which of the predictions are right, as `packed`: of videos in the order
        of activities and views, or of activities.
      predictions: by metric, how many they are.
      probes: of the frozen encoder, as `tasks/probe.py` writes them; empty where none is probed.
    """

    row: str
    protocol: str
    scale: str
    seed: int
    configs: dict[str, str]
    data: str
    machine: dict[str, str]
    minutes: dict[str, float]
    top1: dict[Metric, float]
    correct: dict[Metric, str]
    predictions: dict[Metric, int]
    probes: dict[str, Any]

    def right(self, metric: Metric) -> Bool[np.ndarray, " n"]:
        """Which predictions are right."""
        bits = np.frombuffer(bytes.fromhex(self.correct[metric]), np.uint8)
        return np.unpackbits(bits)[: self.predictions[metric]].astype(bool)


def prepare(out: Path, staging: str) -> None:
    """Renders the videos of a staging and builds the records, as far as they are not there.

    Raises:
      subprocess.CalledProcessError: it failed, and has said why.
    """
    run(
        "render three cameras, build records",
        *("prepare", "mannequin", f"--raw-dir={out / 'raw'}", f"--data-dir={out / 'data'}"),
        *(f"--staging={staging}", f"--subjects={SUBJECTS}", f"--short-side={SHORT_SIDE}"),
    )


def run_missing(row: Row, scale: str, seed: int, out: Path) -> bool:
    """Runs a row with a seed, unless `results.jsonl` has it; adds what it found.

    Returns:
      Whether it was run.

    Raises:
      InputError: what is there was found with another config or scale, or on other data.
      subprocess.CalledProcessError: a command failed, and has said why.
    """
    results, data = out / "results.jsonl", fingerprint(out / "data", "mannequin")
    found = read_findings(results)
    known = {(x.protocol, x.row, x.seed): x for x in found}.get((row.protocol, row.name, seed))
    if found and (found[0].scale, found[0].data) != (scale, data):
        raise InputError(
            f"{results} has results of the scale {found[0].scale}, or of other data; choose "
            "another --out"
        )
    if known is None:
        new = run_row(row, scale, seed, data, out)
        lines = [json.dumps(x._asdict()) for x in (*found, new)]
        write_whole(results, "\n".join(lines) + "\n")
    elif known.configs != hashes(row, scale, seed):
        of_row = [path for path in workdirs(row, seed, out) if path]
        raise InputError(
            f"{results} has {row.name}, {row.protocol}, seed {seed} with another config; to run it "
            f"again, delete its line and {' and '.join(map(str, of_row))}, or choose another --out"
        )
    return known is None


def read_findings(results: Path) -> list[Finding]:
    """All findings, in the order in which they were made; none where there is no file.

    Raises:
      InputError: a line is damaged, repeats a row and seed, or is of another scale or data set
        than the first.
    """
    findings: list[Finding] = []
    for number, line in enumerate(_lines(results), start=1):
        try:
            finding = Finding(**json.loads(line))
            seed = operator.index(finding.seed)
            for metric, accuracy in finding.top1.items():
                right = finding.right(metric)
                if len(right) != finding.predictions[metric] or abs(right.mean() - accuracy) > 1e-6:
                    raise ValueError(f"{metric} is not the mean of its predictions")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"line {number} of {results} is damaged ({error}); delete it, and its row is run "
                "again"
            ) from error
        where = finding.protocol, finding.row, seed
        if where in {(x.protocol, x.row, x.seed) for x in findings}:
            raise InputError(
                f"line {number} of {results} is the second of {finding.row}, {finding.protocol}, "
                f"seed {seed}; delete one of the two"
            )
        if findings and (finding.scale, finding.data) != (findings[0].scale, findings[0].data):
            raise InputError(
                f"line {number} of {results} is of another scale or data set than line 1; keep "
                "them in files of their own"
            )
        findings.append(finding)
    return findings


def _lines(file: Path) -> Iterator[bytes]:
    if file.exists():
        yield from file.read_bytes().splitlines()


def run_row(row: Row, scale: str, seed: int, data: str, out: Path) -> Finding:
    """Pre-trains, probes and fine-tunes, as far as that was not done before."""
    pretrained, finetuned = workdirs(row, seed, out)
    minutes = {}
    for task, (variant, overrides) in commands(row, scale).items():
        workdir = finetuned if task == "finetune" else pretrained
        start = [f"--config.finetune.init_from={pretrained}"] * bool(
            pretrained and task == "finetune"
        )
        started = time.perf_counter()
        run(
            f"{task}: {row.name}, {row.protocol}, seed {seed}",
            *("main", f"--config={CONFIG}:{variant}", f"--workdir={workdir}", *start),
            *(f"--config.{name}={value}" for name, value in overrides.items()),
            *(f"--config.data.data_dir={out / 'data'}", f"--config.seed={seed}"),
        )
        minutes[task] = round((time.perf_counter() - started) / 60, 2)
    probed = pretrained if "probe" in minutes else None
    correct = read_correct(finetuned) | (read_probed(probed) if probed else {})
    return Finding(
        row=row.name,
        protocol=row.protocol,
        scale=scale,
        seed=seed,
        configs=hashes(row, scale, seed),
        data=data,
        machine={
            "device": device_kind(),
            "processor": processor(),
            "cores": str(usable_cores()),
            "jax": version("jax"),
            "python": platform.python_version(),
        },
        minutes=minutes,
        top1={metric: round(float(right.mean()), 6) for metric, right in correct.items()},
        correct={metric: packed(right) for metric, right in correct.items()},
        predictions={metric: len(right) for metric, right in correct.items()},
        probes=read_probe(probed) if probed else {},
    )


def workdirs(row: Row, seed: int, out: Path) -> tuple[Path | None, Path]:
    """The work directories of its pre-training, which other rows may share, and fine-tuning."""
    runs = out / "runs" / row.protocol
    pretrained = runs / f"{row.pretraining.name}-{seed}" if row.pretraining else None
    return pretrained, runs / f"{folder(row.name)}-{seed}-finetune"


def device_kind() -> str:
    """What JAX calls the device, in a process that ends: who asks holds it, and its memory."""
    words = [sys.executable, "-c", "import jax; print(jax.devices()[0].device_kind)"]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def commands(row: Row, scale: str) -> dict[str, tuple[str, Overrides]]:
    """Of each task of a row the config's variant and what it overrides.

    Where a share of the labels is fine-tuned with, nothing is probed: it would be with all.
    """
    options = f"scale={scale},protocol={row.protocol}"
    finetune = f"finetune,{options}"
    tasks: dict[str, tuple[str, Overrides]] = {}
    if row.pretraining is not None:
        pretrain = f"pretrain,{options},method={row.pretraining.method}"
        tasks["pretrain"] = (pretrain, with_length(pretrain, row.pretraining.overrides))
        if FRACTION not in row.finetuning:
            tasks["probe"] = (f"probe,{options}", {})
    tasks["finetune"] = (finetune, with_length(finetune, row.finetuning))
    return tasks


def with_length(variant: str, overrides: Overrides) -> Overrides:
    """The same overrides, and of a share of the data as many more epochs: as many steps."""
    if FRACTION not in overrides:
        return overrides
    config = reproduction.get_config(variant)
    base.set_epochs(config, round(config.epochs / overrides[FRACTION]))
    longer = {"epochs": config.epochs, "optimizer.warmup_epochs": config.optimizer.warmup_epochs}
    return {**overrides, **longer}


def hashes(row: Row, scale: str, seed: int) -> dict[str, str]:
    """Of each task of a row a hash of its config."""
    found = {}
    for task, (variant, overrides) in commands(row, scale).items():
        config = reproduction.get_config(variant)
        config.update_from_flattened_dict({**overrides, "seed": seed})
        found[task] = config_hash(config)
    return found


def config_hash(config: ConfigDict) -> str:
    """Twelve digits that tell configs apart by what they compute."""
    text = json.dumps(
        sorted(
            (name, repr(value)) for name, value in fields(config) if not name.startswith(UNHASHED)
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_correct(workdir: Path) -> dict[Metric, Bool[np.ndarray, " n"]]:
    """Which predictions of a tested run are right, in the order of activities and views."""
    tested = read_predictions(workdir)
    fused, labels = fuse_views(tested.probabilities, tested.labels, tested.activities)
    return {
        "single_clip": tested.single_clip == tested.labels,
        "single_view": tested.predicted == tested.labels,
        "multi_view": fused.argmax(axis=1) == labels,
    }


def read_probed(workdir: Path) -> dict[Metric, Bool[np.ndarray, " n"]]:
    """Which predictions of the token probe are right, in the same order."""
    return {"token_probe": read_probe_predictions(workdir)["tokens_after"]}


def packed(right: Bool[np.ndarray, " n"]) -> str:
    """Eight predictions a byte, in hexadecimal digits."""
    return np.packbits(right).tobytes().hex()
