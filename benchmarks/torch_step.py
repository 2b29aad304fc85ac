"""A round of PyTorch's step, plain, fused or strong; `step` runs it:

python -m benchmarks.torch_step FOLDER STEPS {plain,fused,strong} [--compile MODE]
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn

from benchmarks import rounds, torch_reference, torch_strong
from mv2mae_jax.interop import pytorch
from mv2mae_jax.interop.names import Tensors
from mv2mae_jax.model.grid import tubelet_grid

Loss = Callable[[Tensor, Tensor], Tensor]  # clips; hidden tubelets, or labels
MakeLoss = Callable[[ConfigDict, nn.Module], Loss]


def measure(folder: Path, steps: int, kind: str, mode: str) -> rounds.Round:
    """The round, from the weights that JAX's left.

    Args:
      folder: of the rounds.
      steps: to measure.
      kind: `plain`, `fused` or `strong`.
      mode: of `torch.compile`, for the strong loss; `none`: without it.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    config = rounds.read_config(folder)
    make_loss: MakeLoss = plain_loss if kind == "plain" else fused_loss
    fused = kind != "plain"
    if kind == "strong":
        mode = mode if has_compiler() else "none"
        kind += ", not compiled" if mode == "none" else f", compiled ({mode})"
        make_loss = partial(strong_loss, mode=mode)
    with np.load(folder / rounds.WEIGHTS) as tensors:
        training = TorchTraining(config, dict(tensors), make_loss, fused=fused)
    on_gpu = training.device.type == "cuda"
    batch = rounds.random_batch(config, classes=rounds.num_classes(config))
    clips = torch.from_numpy(batch["clips"]).to(training.device)
    others = _others(config, batch, folder, training.device)

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    wait()
    losses, first, rate = rounds.timed(
        lambda: training.step(clips, next(others)),
        wait,
        steps,
        warm_up=3 if on_gpu else 1,  # CUDA graphs are recorded in the second step
    )
    return rounds.Round(
        framework=f"PyTorch {torch.__version__}, {kind}",
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        losses=losses,
        first_step_seconds=first,
        samples_per_second=rate * config.batch_size,
        peak_bytes=torch.cuda.max_memory_allocated() if on_gpu else rounds.process_peak_bytes(),
    )


def _others(
    config: ConfigDict, batch: dict[str, np.ndarray], folder: Path, device: torch.device
) -> Iterator[Tensor]:
    """For every step the labels, or masks: JAX's in the first two, then new ones."""
    if config.task == "finetune":
        return itertools.repeat(torch.from_numpy(batch["label"]).long().to(device))
    data = config.data
    grid = tubelet_grid(data.num_frames, data.image_size, tuple(config.model.patch_size))
    ratio = config.masking.ratio
    draw = partial(torch_reference.random_masks, config.batch_size, grid, ratio, device)
    first = torch.from_numpy(np.load(folder / rounds.HIDDEN)).to(device)
    return itertools.chain([first, first], (draw() for _ in itertools.count()))


def plain_loss(config: ConfigDict, model: nn.Module) -> Loss:
    """The loss as in VideoMAE's code: attention written out, one view after the other."""
    for module in model.modules():
        if isinstance(module, pytorch.Attention):
            module.attend = torch_reference.written_out  # type: ignore[method-assign]
    if isinstance(model, pytorch.MV2MAE):
        forward = partial(torch_reference.view_by_view, model)
        return partial(torch_reference.pretraining_loss, config, forward)
    return partial(torch_reference.classification_loss, config, model)


def fused_loss(config: ConfigDict, model: nn.Module) -> Loss:
    """The loss by the modules as they are: views in one batch, PyTorch's fused attention."""
    if isinstance(model, pytorch.MV2MAE):
        return partial(torch_reference.pretraining_loss, config, model)
    return partial(torch_reference.classification_loss, config, model)


def strong_loss(config: ConfigDict, model: nn.Module, mode: str = "none") -> Loss:
    """The same loss made fast; compiled in a mode of `torch.compile`, unless that is `none`."""
    if isinstance(model, pytorch.MV2MAE):
        loss: nn.Module = torch_strong.PretrainingLoss(config, model)
    else:
        assert isinstance(model, pytorch.Classifier)
        loss = torch_strong.ClassificationLoss(config, model)
    loss.to(next(model.parameters()).device)
    return loss if mode == "none" else torch.compile(loss, fullgraph=True, mode=mode)


def has_compiler() -> bool:
    """Whether the program is there that `torch.compile` compiles with, on a CPU or for a GPU."""
    names = ("CC", "gcc", "clang") if torch.cuda.is_available() else ("CXX", "g++")
    return any(shutil.which(os.environ.get(name, name)) for name in names)


class TorchTraining:
    """A model and its AdamW, on the GPU if there is one."""

    def __init__(
        self, config: ConfigDict, tensors: Tensors, make_loss: MakeLoss, *, fused: bool
    ) -> None:
        """Args:
        config: as of `Training`.
        tensors: initial values, as `pytorch.build` takes them.
        make_loss: `plain_loss`, `fused_loss` or `strong_loss`.
        fused: whether AdamW is one operation.
        """
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.set_float32_matmul_precision("high")  # TF32, as in JAX
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = pytorch.build(config, tensors).to(self.device).train()
        self._loss = make_loss(config, model)
        self._optimizer = adamw(config, model, fused)
        dtype = getattr(torch, config.model.dtype)
        self._autocast = partial(
            torch.autocast, self.device.type, dtype, enabled=dtype != torch.float32
        )

    def step(self, clips: Tensor, other: Tensor) -> Tensor:
        """The loss of a step, not waited for.

        Args:
          clips: on the device.
          other: hidden tubelets, or labels.
        """
        with self._autocast():
            loss = self._loss(clips, other)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()


def adamw(config: ConfigDict, model: nn.Module, fused: bool) -> torch.optim.AdamW:
    """Layer-wise rates and what decays as in `mv2mae_jax.training.optimizer`."""
    options = config.optimizer
    rate = options.base_learning_rate * config.batch_size / options.reference_batch
    groups = torch_reference.parameter_groups(model, options.layer_decay, options.weight_decay)
    return torch.optim.AdamW(
        [{**group, "lr": rate * group["lr_scale"]} for group in groups],
        betas=(options.b1, options.b2),
        fused=fused or None,  # None: PyTorch's default, which is not fused
    )


if __name__ == "__main__":
    parser = rounds.arguments(__doc__)
    parser.add_argument("kind", choices=("plain", "fused", "strong"))
    parser.add_argument("--compile", default="default", help="mode of torch.compile; or none")
    given = parser.parse_args()
    rounds.report(measure(given.folder, given.steps, given.kind, given.compile))
