"""How far fine-tuning here and in PyTorch part, from the same weights over the same batches.

python -m benchmarks.finetuning_parity [--variant tiny] [--batch 4] [--steps 20] [--json FILE]
python -m benchmarks.finetuning_parity --data-dir DIR --dataset ntu --protocol ntu60_xview \\
    --checkpoint runs/pretrain

Here: the package's classifier, loss and step. There: Hugging Face's VideoMAEForVideoClassification
as it reads the exported weights, with PyTorch's AdamW and VideoMAE's parameter groups, on the CPU.
Both in float32, with Table 16's optimiser and augmentation, without drop path. Hugging Face's last
norm has an eps of 1e-5, ours VideoMAE's 1e-6. Exits with 1 if a loss differs by more than 1e-3, or
a logit of the trained models by more than 1e-2. Without a data set it makes a small mannequin's.
"""

import argparse
import itertools
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from tabulate import tabulate
from transformers import VideoMAEForVideoClassification

from benchmarks import common
from benchmarks.torch_reference import parameter_groups, pixels_of
from benchmarks.training import Training
from configs.base import set_finetuning
from mv2mae_jax.check import check
from mv2mae_jax.command_line import Parser
from mv2mae_jax.data import loader, splits
from mv2mae_jax.interop.initial import load_initial
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.parameters import Parameters, split

LOSS_BOUND, LOGIT_BOUND = 1e-3, 1e-2

Clips = UInt8[np.ndarray, "B T H W C"]
Logits = Float[np.ndarray, "B classes"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), common.small_mannequin, measure, _print, wrong)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: the data set or the checkpoint cannot be used.
    """
    machine = common.machine()
    config = _config(arguments)
    classes = len(splits.class_names(config))
    definition, parameters = split(build.classifier(config, classes, nnx.Rngs(config.seed)))
    if arguments.checkpoint is not None:
        parameters |= load_initial(config, arguments.checkpoint, encoder_only=True)
    with loader.finetuning_batches(config) as endless:
        batches = list(itertools.islice(endless, arguments.steps))
    with loader.evaluation_batches(config, "test", clips=1, crops=1) as test:
        batch = next(test)
        held_out = batch["clips"][batch["valid"], 0]

    with jax.default_matmul_precision("float32"):
        losses, trained = train_with_jax(config, parameters, batches)
        predict = jax.jit(lambda p, clips: definition.bind(p)(build.clip_patches(config, clips)))
        logits = np.asarray(predict(trained, held_out))
    with tempfile.TemporaryDirectory() as folder:
        exported = common.export_parameters(config, parameters, Path(folder))
        model = VideoMAEForVideoClassification.from_pretrained(exported)
    their_losses = train_with_pytorch(config, model, batches)
    with torch.no_grad():
        their_logits = model.eval()(pixel_values(config, held_out)).logits.numpy()

    return {
        "machine": machine,
        "model": f"ViT {arguments.variant}, clips of {arguments.frames} frames of "
        f"{arguments.image_size} pixels of {arguments.dataset}, {arguments.batch} a step, "
        + (f"from {arguments.checkpoint}" if arguments.checkpoint else "from random weights"),
        "loss": {"jax": losses, "pytorch": their_losses},
        "largest_loss_difference": _largest(np.subtract(losses, their_losses)),
        "held_out_clips": len(held_out),
        "largest_logit": _largest(their_logits),
        "largest_logit_difference": _largest(logits - their_logits),
    }


def wrong(report: common.Report) -> str:
    """Which difference is beyond its bound; empty if none is. One that is no number is beyond."""
    for of, bound in (("loss", LOSS_BOUND), ("logit", LOGIT_BOUND)):
        difference = report[f"largest_{of}_difference"]
        if not difference <= bound:
            return f"the largest {of} difference is {difference:.1e}, more than {bound:g}"
    return ""


def train_with_jax(
    config: ConfigDict, parameters: Parameters, batches: Sequence[loader.Batch]
) -> tuple[list[float], Parameters]:
    """The project's own steps of a classifier: the loss of each, and the parameters after all."""
    training = Training(config, parameters["head.bias"].size)
    # Copies: a step reuses the memory of the state before it.
    copies = {name: jnp.array(x) for name, x in parameters.items()}
    training.state = training.state._replace(parameters=copies)
    losses = [float(metrics["loss"]) for metrics in training.on(batches)]
    return losses, training.state.parameters


def train_with_pytorch(
    config: ConfigDict, model: VideoMAEForVideoClassification, batches: Sequence[loader.Batch]
) -> list[float]:
    """The same steps in PyTorch, by VideoMAE's rules: the loss of each."""
    optimizer = config.optimizer
    groups = parameter_groups(model, optimizer.layer_decay, optimizer.weight_decay)
    adam = torch.optim.AdamW(groups, lr=0.0, betas=(optimizer.b1, optimizer.b2), eps=1e-8)
    smoothing = config.finetune.label_smoothing
    model.train()
    losses = []
    for step, batch in enumerate(batches):
        logits = model(pixel_values(config, batch["clips"])).logits
        labels = torch.from_numpy(batch["label"]).long()
        loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        for group in adam.param_groups:
            group["lr"] = rate(config, step) * group["lr_scale"]
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses


def rate(config: ConfigDict, step: int) -> float:
    """Linear warm-up, then half a cosine, where an epoch is a step."""
    optimizer = config.optimizer
    scale = config.batch_size / optimizer.reference_batch
    peak, low = scale * optimizer.base_learning_rate, scale * optimizer.min_learning_rate
    if step < optimizer.warmup_epochs:
        return peak * step / optimizer.warmup_epochs
    done = (step - optimizer.warmup_epochs) / (config.epochs - optimizer.warmup_epochs)
    return low + (peak - low) * (1 + math.cos(math.pi * done)) / 2


def pixel_values(config: ConfigDict, clips: Clips) -> Float[torch.Tensor, "B T C H W"]:
    """What Hugging Face's model takes."""
    return pixels_of(config, torch.from_numpy(clips))[1].transpose(1, 2).contiguous()


def _config(arguments: argparse.Namespace) -> ConfigDict:
    config = common.config(arguments)
    set_finetuning(config)
    config.model.variant, config.model.dtype = arguments.variant, "float32"
    config.model.drop_path = 0.0
    config.data.num_frames, config.data.image_size = arguments.frames, arguments.image_size
    config.data.repeats = 1
    config.batch_size = config.evaluation.batch_size = arguments.batch
    config.optimizer.reference_batch = arguments.batch  # so the rates are what the config says
    config.epochs = arguments.steps  # of one step
    config.optimizer.warmup_epochs = float(arguments.steps // 10)
    check(config)
    return config


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max())


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    print(report["model"])
    losses = report["loss"]
    rows = [
        [step, ours, theirs, ours - theirs]
        for step, (ours, theirs) in enumerate(
            zip(losses["jax"], losses["pytorch"], strict=True), start=1
        )
    ]
    heads = ["step", "loss, JAX", "loss, PyTorch", "difference"]
    print(tabulate(rows, heads, floatfmt=("", ".6f", ".6f", ".1e")))
    print(f"largest difference of a loss {report['largest_loss_difference']:.1e}")
    print(
        f"largest difference of a logit {report['largest_logit_difference']:.1e} over "
        f"{report['held_out_clips']} held-out clips, whose largest logit is "
        f"{report['largest_logit']:.2f}"
    )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS, default="tiny")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4, help="clips a step")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--checkpoint", type=Path, help="of the encoder; default: random weights")
    parser.add_argument("--data-dir", type=Path, help="of a built data set; default: make one")
    parser.add_argument("--dataset", default="mannequin", help="its name")
    parser.add_argument("--protocol", default="xview", help="which of its videos train and test")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
