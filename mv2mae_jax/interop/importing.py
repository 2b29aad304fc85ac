"""Weights from elsewhere as a work directory: `python -m mv2mae_jax.convert import`."""

import json

from etils import epath
from tabulate import tabulate

from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.models import Model, ReportRow, load_model
from mv2mae_jax.interop.writing import new_folder
from mv2mae_jax.model.parts import PARTS, has, num_classes
from mv2mae_jax.run_files import CHECKPOINTS, IMPORT_REPORT
from mv2mae_jax.storage import to_path
from mv2mae_jax.training.checkpoints import Checkpoints
from mv2mae_jax.training.workdir import write_classes, write_config


def import_weights(source: epath.PathLike, out: epath.PathLike) -> None:
    """Makes a work directory of weights, and tells what became of every tensor.

    It has a checkpoint of step 0, the config as far as the weights tell it, the names of a
    classifier's classes, and `import.json`, the report. Runs start from it by `init_from`.

    Raises:
      InputError: as `load_model`; or `out` is there already.
    """
    if (to_path(source) / CHECKPOINTS).exists():
        raise InputError(f"{source} is a work directory already; nothing to import")
    model = load_model(source)
    with new_folder(out) as folder:
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(0, {"parameters": model.parameters}, model.config)
        write_config(folder, model.config)
        if model.classes:
            write_classes(folder, model.classes)
        rows = [row._asdict() for row in model.rows]
        report = {"from": str(source), "tensors": rows}
        (folder / IMPORT_REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(_table(model.rows))
    print(_summary(model, source, out), flush=True)


def _table(rows: list[ReportRow]) -> str:
    return tabulate(
        [
            (
                row.tensor.encode("unicode_escape").decode(),
                " x ".join(map(str, row.shape)),
                _place(row),
            )
            for row in sorted(rows, key=lambda row: bool(row.left))
        ],
        ["tensor", "shape", "taken as"],
        tablefmt="plain",
        disable_numparse=True,
    )


def _place(row: ReportRow) -> str:
    return f"left: {row.left}" if row.left else ", ".join(row.parameters)


def _summary(model: Model, source: epath.PathLike, out: epath.PathLike) -> str:
    config = model.config
    left = sum(bool(row.left) for row in model.rows)
    if classes := num_classes(model.parameters):
        what = f"a classifier of {classes} classes"
    else:
        parts = [part for part in PARTS if part != "final norm" and has(model.parameters, part)]
        what = " and ".join(parts)
    return (
        f"{len(model.rows) - left} of {len(model.rows)} tensors of {source} taken, {left} left: "
        f"{what}, {config.model.variant}, tubelets of {tuple(config.model.patch_size)}, "
        f"{config.data.num_frames} frames of {config.data.image_size} pixels\n"
        f"start from it with --config.pretrain.init_from={out} or --config.finetune.init_from={out}"
    )
