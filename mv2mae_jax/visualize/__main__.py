"""Pictures from a pre-training work directory.

python -m mv2mae_jax.visualize motion --workdir DIR --out motion.png
python -m mv2mae_jax.visualize reconstruction --workdir DIR --out reconstruction.png
python -m mv2mae_jax.visualize attention --workdir DIR --out attention.png
"""

import argparse
import sys
import textwrap

import matplotlib

matplotlib.use("Agg")

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from etils import epath
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.data import loader
from mv2mae_jax.errors import InputError, one_line
from mv2mae_jax.model import build
from mv2mae_jax.objective import effective_patches, motion_weights
from mv2mae_jax.storage import to_path
from mv2mae_jax.tasks.pretrain import in_motion_space, motion_feature
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.visualize.attention import cross_attention_maps, mark_tubelet
from mv2mae_jax.visualize.reconstruct import overlay, reconstruct

Rows = dict[str, Float[np.ndarray, "T H W C"]]

NOTE_LINE = 0.17  # inches
NOTE_LETTERS = 15  # an inch
TEMPERATURE_FACTORS = (0.2, 1.0, 5.0)  # times the temperature of the run


def main() -> int:
    """Draws one picture; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mv2mae_jax.visualize", description="Pictures of a pre-training run."
    )
    parser.add_argument("picture", choices=("motion", "reconstruction", "attention"))
    parser.add_argument("--workdir", required=True, help="work directory of a pre-training run")
    parser.add_argument("--out", required=True, help="PNG file to write")
    parser.add_argument("--data-dir", help="where the records are; default: as in training")
    parser.add_argument("--samples", type=int, default=2, help="activities to show")
    args = parser.parse_args()
    try:
        draw(args.picture, args.workdir, args.out, args.data_dir, args.samples)
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def draw(
    picture: str,
    workdir: epath.PathLike,
    out: epath.PathLike,
    data_dir: str | None = None,
    samples: int = 2,
) -> None:
    """Draws `motion`, `reconstruction` or `attention` for some training activities of a run."""
    if samples < 1 or not str(out).endswith(".png"):
        raise InputError(f"--samples={samples} --out={out}; they are 1 or more, and a .png file")
    parameters, config = load_parameters(workdir)
    if "mask_token" not in parameters:
        raise InputError(f"{workdir} has no decoders; name the --workdir of a pre-training")
    config.data.data_dir = data_dir or config.data.data_dir
    config.batch_size = samples
    with loader.pretraining_batches(config) as batches:
        clips = next(batches)["clips"][:: config.data.repeats]
    if picture == "motion":
        sections = [motion_rows(config, clip[0]) for clip in clips]
        note = "brightness: weight relative to the largest of the clip"
    elif picture == "attention":
        sections = attention_rows(config, parameters, clips)
        note = (
            "where the cross-view decoder looks to predict the marked tubelet, the masked one that "
            "moves most; brightness: mean over heads and blocks; masked source tubelets are dark"
        )
    else:
        sections = reconstruction_rows(config, parameters, clips)
        note = (
            f"{config.masking.ratio:.0%} masked (grey); predictions are shown in masked places only"
        )
        if config.objective.targets == "normalized":
            note += "; mean and contrast of each are guessed from visible tubelets"
    save(sections, config.model.patch_size[0], note, out)
    print(f"{picture} drawn to {out}")


def motion_rows(config: ConfigDict, clip: UInt8[np.ndarray, "T H W C"]) -> Rows:
    """The clip, and the clip weighted at several temperatures (Figure 2)."""
    patch_size, grid = tuple(config.model.patch_size), build.grid_of(config)
    frames = clip / 255.0
    normalized = build.normalized(config, jnp.asarray(clip)[None])
    pixels, feature = in_motion_space(config, normalized), motion_feature(config)
    rows = {"input": frames}
    for factor in TEMPERATURE_FACTORS:
        temperature = config.objective.temperature * factor
        weights = motion_weights(pixels, patch_size, temperature, feature)
        spread = float(effective_patches(weights)[0])
        label = f"τ = {temperature:g}\n{spread:.0f} of {weights.shape[1]}\ntubelets"
        rows[label] = overlay(frames, np.asarray(weights[0]), patch_size, grid)
    return rows


def reconstruction_rows(
    config: ConfigDict, parameters: Parameters, clips: UInt8[np.ndarray, "B V T H W C"]
) -> list[Rows]:
    """Of every sample: the source, the target, and the target masked and reconstructed."""
    pictures = reconstruct(config, parameters, clips)
    return [
        {
            "source view": pictures.input[b, 1],
            "target view": pictures.input[b, 0],
            "masked": pictures.masked[b, 0],
            "self-view\ndecoder": pictures.self_view[b, 0],
            "cross-view\ndecoder": pictures.cross_view[b, 0],
            "error of\ncross-view": np.abs(pictures.cross_view[b, 0] - pictures.input[b, 0]),
        }
        for b in range(len(clips))
    ]


def attention_rows(
    config: ConfigDict, parameters: Parameters, clips: UInt8[np.ndarray, "B V T H W C"]
) -> list[Rows]:
    """Of every sample: the target, masked and reconstructed, and the attention to its sources."""
    patch_size, grid = tuple(config.model.patch_size), build.grid_of(config)
    pictures = reconstruct(config, parameters, clips)
    attention = cross_attention_maps(config, parameters, clips)
    sections = []
    for b, query in enumerate(attention.query):
        rows = {
            "target view": pictures.input[b, 0],
            "masked": mark_tubelet(pictures.masked[b, 0], query, patch_size, grid),
            "cross-view\ndecoder": pictures.cross_view[b, 0],
        }
        for number, weights in enumerate(attention.sources[b], start=1):
            frames = pictures.input[b, number]
            rows[f"source view {number}"] = frames
            rows[f"attention to\nview {number}"] = overlay(frames, weights, patch_size, grid)
        sections.append(rows)
    return sections


def save(sections: list[Rows], frame_step: int, note: str, out: epath.PathLike) -> None:
    """One row of frames for each entry, one frame of every tubelet."""
    rows = [row for section in sections for row in section.items()]
    columns = len(rows[0][1][::frame_step])
    width = 1.4 * columns + 1
    note = "\n".join(textwrap.wrap(note, int(NOTE_LETTERS * width)))
    height = 1.4 * len(rows) + NOTE_LINE * (2 + note.count("\n"))
    figure, axes = plt.subplots(len(rows), columns, figsize=(width, height), squeeze=False)
    for line, (label, frames) in zip(axes, rows, strict=True):
        for axis, frame in zip(line, frames[::frame_step], strict=True):
            axis.imshow(np.clip(frame, 0, 1))
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    figure.suptitle(note, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 1.4 * len(rows) / height))
    try:
        path = to_path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            figure.savefig(file, dpi=110)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error})") from error
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
