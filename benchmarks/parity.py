"""Whether the same weights give the same numbers here and in PyTorch: the largest differences.

python -m benchmarks.parity [--variants tiny small base] [--sizes 128 224] [--frames 16 8]
    [--weights random trained] [--json FILE]

In float32, JAX against Hugging Face's VideoMAE as `from_pretrained` loads it, against the same with
MCG-NJU's eps in every norm (two of Hugging Face's have another, whatever their config says), and
against the modules of `mv2mae_jax/interop/pytorch.py`; absolute. In bfloat16, for the first size
and number of frames, JAX and PyTorch's autocast, each against its own float32 and against each
other; relative to the largest value. A float32 difference above 1e-4 is an error, and so are
weights that do not survive a round trip through other names.

Random weights have no bias of 0 and no scale of 1. Trained ones come from a few dozen steps of
fine-tuning on small clips: positions are no weights, so they serve all sizes. What fine-tuning has
no use for, the decoders above all, stays random.
"""

import argparse
import itertools
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jaxtyping import UInt8
from ml_collections import ConfigDict
from tabulate import tabulate
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification
from transformers.utils import logging

from benchmarks import common
from benchmarks.torch_reference import pixels_of, random_masks
from benchmarks.training import Training
from configs.base import get_config
from mv2mae_jax.check import check
from mv2mae_jax.command_line import Parser
from mv2mae_jax.data.loader import Batch
from mv2mae_jax.interop import pytorch
from mv2mae_jax.interop.names import NAMINGS, from_tensors, name_table, to_tensors
from mv2mae_jax.model import build
from mv2mae_jax.model.classifier import Classifier
from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.mv2mae import MV2MAE, merge_views
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.parameters import split

BOUND = 1e-4
CLASSES = 4
STEPS = 36  # of fine-tuning

Values = dict[str, Any]  # arrays by our names


class Weights(NamedTuple):
    """Of the two models that travel."""

    pretraining: Values
    classifier: Values


class Sample(NamedTuple):
    """One activity.

    Attributes:
      clips: of its two views.
      hidden: the tubelets to reconstruct.
    """

    clips: UInt8[np.ndarray, "1 2 T H W C"]
    hidden: torch.Tensor  # bool [1 2 N]

    def pixels(self, config: ConfigDict) -> torch.Tensor:
        """As PyTorch's models take them: [1 2 C T H W], ImageNet-normalised."""
        return pixels_of(config, torch.from_numpy(self.clips))[1]


Outputs = dict[str, np.ndarray]  # tokens and logits of the first view, pixels of both
Run = Callable[[Weights, Sample], Outputs]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    arguments = _arguments(argv)
    logging.disable_progress_bar()  # of loading weights

    def show(report: common.Report) -> None:
        print(common.machine_line(report["machine"]))
        print(table(report))

    def wrong(report: common.Report) -> str:
        return "\n".join(failures(report))

    return common.run(arguments, None, measure, show, wrong)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: clips of such a size cannot be cut into tubelets.
    """
    for size, frames in itertools.product(arguments.sizes, arguments.frames):
        config = get_config()
        config.data.image_size, config.data.num_frames = size, frames
        check(config)
    report: common.Report = {"machine": common.machine(), "weights": [], "rows": []}
    for variant in arguments.variants:
        config = get_config()
        config.model.variant, config.model.dtype = variant, "float32"
        chosen, losses = {"random": random_weights(config)}, {}
        if "trained" in arguments.weights:
            chosen["trained"], losses["trained"] = train(config, chosen["random"])
        chosen = {kind: chosen[kind] for kind in arguments.weights}
        report["weights"] += [
            {
                "variant": variant,
                "weights": kind,
                "losses": losses.get(kind, []),
                "exact_round_trip": all(map(survives_round_trip, weights)),
            }
            for kind, weights in chosen.items()
        ]
        clips = tuple(itertools.product(arguments.sizes, arguments.frames))
        for size, frames in clips:
            config.data.image_size, config.data.num_frames = size, frames
            dtypes = ("float32", "bfloat16") if (size, frames) == clips[0] else ("float32",)
            run = {dtype: jax_models(config, dtype) for dtype in dtypes}
            for kind, weights in chosen.items():
                where = {"variant": variant, "frames": frames, "size": size, "weights": kind}
                rows = compare(config, weights, run)
                report["rows"] += [where | row for row in rows]
    return report


def compare(config: ConfigDict, weights: Weights, run: dict[str, Run]) -> list[dict[str, Any]]:
    """A row for every output of the models, on one sample.

    Args:
      config: of clips and models.
      weights: the same for all programs.
      run: JAX's models, by the type of their activations.
    """
    sample = random_sample(config)
    ours = {dtype: models(weights, sample) for dtype, models in run.items()}
    theirs = {dtype: torch_outputs(config, weights, sample, dtype) for dtype in run}
    with tempfile.TemporaryDirectory() as folder:
        exported = export(config, weights, Path(folder))
        loaded, same_eps = huggingface_outputs(config, exported, sample)
    exact = ours["float32"]
    others = {"huggingface": loaded, "huggingface_eps": same_eps, "pytorch": theirs["float32"]}
    pairs = {}
    if "bfloat16" in run:
        pairs = {
            "jax": (ours["bfloat16"], exact),
            "pytorch": (theirs["bfloat16"], theirs["float32"]),
            "between": (ours["bfloat16"], theirs["bfloat16"]),
        }
    return [
        {
            "output": name,
            "largest": float(np.abs(exact[name]).max()),
            "float32": {
                program: difference(exact[name], outputs[name])
                for program, outputs in others.items()
                if name in outputs
            },
            "bfloat16": {
                pair: difference(one[name], other[name]) for pair, (one, other) in pairs.items()
            },
        }
        for name in theirs["float32"]
    ]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest absolute difference."""
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


def failures(report: common.Report) -> list[str]:
    """What exceeds the bound, or did not survive the round trip; a line each."""
    lines = [
        f"{row['variant']}, {row['weights']} weights: not the same after a round trip"
        for row in report["weights"]
        if not row["exact_round_trip"]
    ]
    for row in report["rows"]:
        lines += [
            f"{row['variant']}, {row['frames']} frames of {row['size']} pixels, {row['weights']} "
            f"weights: {row['output']} differ by {value:.1e} from {program}, more than {BOUND:.0e}"
            for program, value in row["float32"].items()
            if not value <= BOUND  # nor is nan
        ]
    return lines


def table(report: common.Report) -> str:
    """A report for people."""
    weights = []
    for row in report["weights"]:
        line = f"{row['variant']}, {row['weights']}: round trip "
        line += "exact" if row["exact_round_trip"] else "NOT exact"
        if row["losses"]:
            steps, first, last = len(row["losses"]), row["losses"][0], row["losses"][-1]
            line += f"; {steps} steps from a loss of {first:.2f} to {last:.2f}"
        weights.append(line)
    rows = []
    for row in report["rows"]:
        exact, rough, largest = row["float32"], row["bfloat16"], row["largest"]
        programs = ("huggingface", "huggingface_eps", "pytorch")
        pairs = ("jax", "pytorch", "between")
        rows.append(
            [
                row["variant"],
                f"{row['frames']} x {row['size']}",
                row["weights"],
                row["output"],
                f"{largest:.2f}",
                *(f"{exact[program]:.1e}" if program in exact else "-" for program in programs),
                *(f"{100 * rough[pair] / largest:.1f} %" if rough else "-" for pair in pairs),
            ]
        )
    heads = ["", "clip", "weights", "output", "largest"]
    heads += ["Hugging Face", "same eps", "PyTorch", "JAX bf16", "PyTorch bf16", "between"]
    return "\n".join([*weights, tabulate(rows, heads, stralign="right", disable_numparse=True)])


def random_weights(config: ConfigDict) -> Weights:
    """Maps that keep the size of what they map, and no bias of 0 or scale of 1."""
    rng = np.random.default_rng(config.seed)

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        normal = rng.normal(size=shape).astype(np.float32)
        if name.endswith("kernel"):
            return normal / np.float32(math.sqrt(shape[0]))
        return np.float32(name.endswith("scale")) + np.float32(0.1) * normal

    shapes = jax.eval_shape(lambda: tuple(split(model)[1] for model in initial_models(config)))
    return Weights(*({name: values(name, x.shape) for name, x in each.items()} for each in shapes))


def train(config: ConfigDict, random: Weights) -> tuple[Weights, list[float]]:
    """The package's own fine-tuning from initial values; the loss of every step besides."""
    config = config.copy_and_resolve_references()
    config.data.num_frames, config.data.image_size = 8, 64
    config.batch_size = config.optimizer.reference_batch = CLASSES
    config.optimizer.base_learning_rate = 0.1 / VARIANTS[config.model.variant].width
    config.epochs, config.optimizer.warmup_epochs = STEPS, STEPS / 9  # an epoch is a step
    training = Training(config, CLASSES)
    metrics = training.on(labelled_batches(config))
    classifier = {name: np.asarray(x) for name, x in training.state.parameters.items()}
    encoder = {name: x for name, x in classifier.items() if name.startswith("encoder.")}
    losses = [float(each["loss"]) for each in metrics]
    return Weights(random.pretraining | encoder, classifier), losses


def labelled_batches(config: ConfigDict) -> Iterator[Batch]:
    """A batch for every step, with all classes: each is a clip of its own, under noise."""
    rng = np.random.default_rng(config.seed)
    clips = np.stack([clouds(config, rng) for _ in range(CLASSES)]).astype(np.float32)
    label = np.arange(CLASSES, dtype=np.int32)
    for step in range(STEPS):
        noisy = (clips + rng.normal(0, 20, clips.shape)).clip(0, 255).astype(np.uint8)
        yield {"clips": noisy, "label": label, "index": label + CLASSES * step}


def clouds(config: ConfigDict, rng: np.random.Generator) -> UInt8[np.ndarray, "T H W C"]:
    """Smooth colours that change from frame to frame."""
    size = config.data.image_size
    coarse = rng.uniform(0, 255, (config.data.num_frames, 8, 8, 3))
    return np.stack([cv2.resize(frame, (size, size)) for frame in coarse]).astype(np.uint8)


def initial_models(config: ConfigDict) -> tuple[MV2MAE, Classifier]:
    """Ours; only to be traced, for initial values are slow to make one by one."""
    rngs = nnx.Rngs(config.seed)
    return build.pretraining_model(config, rngs), build.classifier(config, CLASSES, rngs)


def survives_round_trip(parameters: Values) -> bool:
    """Whether they are bit for bit the same after a way through every program's names."""
    for naming in NAMINGS:
        tensors = to_tensors(parameters, naming, (2, 16, 16))
        back = from_tensors(tensors, name_table(naming, tensors))
        if back.keys() != parameters.keys() or any(
            not np.array_equal(back[name], value) for name, value in parameters.items()
        ):
            return False
    return True


def random_sample(config: ConfigDict) -> Sample:
    """Two unlike views, and random masks."""
    rng = np.random.default_rng(config.seed)
    clips = np.stack([clouds(config, rng) for _ in range(2)])
    torch.manual_seed(config.seed)
    hidden = random_masks(1, build.grid_of(config), config.masking.ratio, torch.device("cpu"))
    return Sample(clips[None], hidden)


def jax_models(config: ConfigDict, dtype: str) -> Run:
    """Our two models on clips as of the config, compiled once for all weights."""
    config = config.copy_and_resolve_references()
    config.model.dtype = dtype

    @jax.jit
    def outputs(weights: Weights, clips: jax.Array, mask: Mask) -> dict[str, Any]:
        pretraining, classifier = initial_models(config)
        model = split(pretraining)[0].bind(weights.pretraining)
        classify = split(classifier)[0].bind(weights.classifier)
        patches = build.clip_patches(config, merge_views(clips))
        reconstruction = model(patches[None], mask)
        return {
            "tokens": model.encoder_norm(model.encoder(patches[:1])),
            "logits": classify(patches[:1]),
            "pixels": reconstruction.self_view,
            "cross-view pixels": reconstruction.cross_view,
        }

    def run(weights: Weights, sample: Sample) -> Outputs:
        order = sample.hidden.int().argsort(dim=-1, stable=True).numpy()  # ascending, visible first
        visible = order.shape[-1] - int(sample.hidden[0, 0].sum())
        mask = Mask(jnp.array(order[..., :visible]), jnp.array(order[..., visible:]))
        of_both = outputs(weights, jnp.array(sample.clips), mask)
        return {name: np.asarray(x, np.float32) for name, x in of_both.items()}

    return run


@torch.no_grad()
def torch_outputs(config: ConfigDict, weights: Weights, sample: Sample, dtype: str) -> Outputs:
    """Of our PyTorch modules, in float32 or under autocast."""
    patch_size = tuple(config.model.patch_size)
    modules = (pytorch.build(config, to_tensors(x, "videomae", patch_size)) for x in weights)
    pretraining, classifier = modules
    pixels = sample.pixels(config)
    with torch.autocast("cpu", getattr(torch, dtype), enabled=dtype != "float32"):
        reconstruction = pretraining(pixels, sample.hidden)
        outputs = {
            "tokens": pretraining.tokens(pixels[0, :1]),
            "logits": classifier(pixels[0, :1]),
            "pixels": reconstruction.self_view,
            "cross-view pixels": reconstruction.cross_view,
        }
    return {name: x.float().numpy() for name, x in outputs.items()}


def export(config: ConfigDict, weights: Weights, folder: Path) -> Path:
    """Both models as the package exports them for Hugging Face, in folders of their names."""
    for name, parameters in weights._asdict().items():
        (folder / name).mkdir(parents=True)
        common.export_parameters(config, parameters, folder / name)
    return folder


@torch.no_grad()
def huggingface_outputs(
    config: ConfigDict, folder: Path, sample: Sample
) -> tuple[Outputs, Outputs]:
    """Of Hugging Face's models as they are loaded, and with MCG-NJU's eps in all their norms."""
    pretraining = VideoMAEForPreTraining.from_pretrained(folder / "pretraining" / "exported").eval()
    classifier = VideoMAEForVideoClassification.from_pretrained(
        folder / "classifier" / "exported"
    ).eval()
    pixels = sample.pixels(config)[0].transpose(1, 2)  # [2 T C H W]

    def outputs() -> Outputs:
        theirs = {
            "tokens": pretraining.videomae(pixels[:1]).last_hidden_state,
            "logits": classifier(pixels[:1]).logits,
            "pixels": pretraining(pixels, sample.hidden[0]).logits[None],
        }
        return {name: x.numpy() for name, x in theirs.items()}

    loaded = outputs()
    for module in (*pretraining.modules(), *classifier.modules()):
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    return loaded, outputs()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=["tiny", "small", "base"]
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 224], help="pixels")
    parser.add_argument("--frames", nargs="+", type=int, default=[16, 8])
    kinds = ["random", "trained"]
    parser.add_argument("--weights", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
