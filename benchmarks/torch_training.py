"""Steps of PyTorch, for the same model and optimiser as those of `training`."""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn

from benchmarks import torch_reference, torch_strong
from mv2mae_jax.interop import pytorch
from mv2mae_jax.interop.names import Tensors
from mv2mae_jax.model.variants import VARIANTS

Loss = Callable[[Tensor, Tensor], Tensor]  # clips; hidden tubelets or labels


def plain_loss(config: ConfigDict, model: nn.Module) -> Loss:
    """The loss as one would write it."""
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
        self, config: ConfigDict, tensors: Tensors, make_loss: Callable[[ConfigDict, nn.Module], Loss]
    ) -> None:
        """Args:
        config: as of `Training`.
        tensors: initial values, as `pytorch.build` takes them.
        make_loss: `plain_loss` or `strong_loss`.
        """
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.set_float32_matmul_precision("high")  # TF32, as in JAX
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = pytorch.build(config, tensors).to(self.device).train()
        self._loss = make_loss(config, model)
        self._optimizer = adamw(config, model)
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


def adamw(config: ConfigDict, model: nn.Module) -> torch.optim.AdamW:
    """Fused; layer-wise rates and what decays as in `mv2mae_jax.training.optimizer`."""
    options = config.optimizer
    groups = defaultdict(list)
    top = VARIANTS[config.model.variant].depth + 1
    for name, parameter in model.named_parameters():
        block = re.match(r"(?:encoder\.)?blocks\.(\d+)\.", name)
        layer = int(block[1]) + 1 if block else 0 if "patch_embed" in name else top
        decays = parameter.squeeze().ndim > 1  # a mask token is a vector, whatever its shape
        groups[options.layer_decay ** (top - layer), decays].append(parameter)
    rate = options.base_learning_rate * config.batch_size / options.reference_batch
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": scale * rate,
                "weight_decay": options.weight_decay if decays else 0.0,
            }
            for (scale, decays), parameters in groups.items()
        ],
        betas=(options.b1, options.b2),
        fused=True,
    )
