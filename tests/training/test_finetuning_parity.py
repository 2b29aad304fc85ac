"""Fine-tuning against PyTorch: parameter groups by VideoMAE's rule, and five steps of AdamW.

The rule is that of VideoMAE's `get_parameter_groups` and `LayerDecayValueAssigner`, read there and
written down anew for the names of Hugging Face's model.
"""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from ml_collections import ConfigDict
from model.comparison import from_huggingface, randomize
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from configs import ntu60
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.tasks.finetune import classification_loss
from mv2mae_jax.training.optimizer import adamw, learning_rate
from mv2mae_jax.training.parameters import split
from mv2mae_jax.training.sharding import make_mesh, to_devices
from mv2mae_jax.training.step import create_state, make_train_step

CLASSES, STEPS = 60, 5


def huggingface(config: ConfigDict) -> VideoMAEForVideoClassification:
    variant = VARIANTS[config.model.variant]
    torch.manual_seed(0)
    return VideoMAEForVideoClassification(
        VideoMAEConfig(
            image_size=config.data.image_size,
            num_frames=config.data.num_frames,
            hidden_size=variant.width,
            num_hidden_layers=variant.depth,
            num_attention_heads=variant.heads,
            intermediate_size=4 * variant.width,
            layer_norm_eps=1e-6,
            use_mean_pooling=True,
            num_labels=CLASSES,
        )
    )


def videomae_groups(model: VideoMAEForVideoClassification, decay: float, weight_decay: float):
    """A parameter group a parameter: its name, factor on the learning rate, and weight decay."""
    top = model.config.num_hidden_layers + 1
    for name, parameter in model.named_parameters():
        block = re.search(r"encoder\.layer\.(\d+)\.", name)
        layer = int(block[1]) + 1 if block else 0 if "patch_embeddings" in name else top
        yield {
            "name": name,
            "params": [parameter],
            "lr_scale": decay ** (top - layer),
            "weight_decay": 0.0 if parameter.ndim == 1 or name.endswith(".bias") else weight_decay,
        }


def test_rates_and_decays_of_every_parameter():
    """Read off the optimiser's updates: Adam turns a constant gradient into 1."""
    config = ntu60.get_config("finetune")
    theirs = huggingface(config)
    expected = {}
    for group in videomae_groups(theirs, 0.9, 0.1):
        (ours,) = from_huggingface({group["name"]: group["params"][0]})
        expected[ours] = (group["lr_scale"], group["weight_decay"])

    def parameters_of(key: jax.Array) -> dict:
        return split(build.classifier(config, CLASSES, nnx.Rngs(key)))[1]

    real = jax.eval_shape(parameters_of, jax.random.key(0))
    names = {name: (1,) * value.ndim for name, value in real.items()}  # values do not matter
    assert names.keys() == expected.keys()
    optimizer = adamw(config, lambda step: 1.0, {k: jnp.zeros(v) for k, v in names.items()})
    updates = {}
    for value in (0.0, 1.0):
        parameters = {name: jnp.full(shape, value) for name, shape in names.items()}
        ones = jax.tree.map(jnp.ones_like, parameters)
        updates[value], _ = optimizer.update(ones, optimizer.init(parameters), parameters)
    for name, (scale, weight_decay) in expected.items():
        assert -updates[0.0][name].item() == pytest.approx(scale, rel=2e-5), name
        decay = updates[0.0][name].item() - updates[1.0][name].item()
        assert decay == pytest.approx(scale * weight_decay, rel=2e-5, abs=1e-7), name
    assert len({scale for scale, _ in expected.values()}) == 14


def batches(config: ConfigDict) -> list[dict[str, np.ndarray]]:
    data, size = config.data, config.batch_size
    shape = (size, data.num_frames, data.image_size, data.image_size, 3)
    rng = np.random.default_rng(0)
    return [
        {
            "clips": rng.integers(0, 256, shape, np.uint8),
            "label": rng.integers(0, CLASSES, size).astype(np.int32),
            "index": np.arange(size, dtype=np.int32) + size * step,
        }
        for step in range(STEPS)
    ]


def rate(step: int, config: ConfigDict) -> float:
    """Linear warm-up over two steps, then half a cosine, at base x batch / 256."""
    scale = config.batch_size / 256
    peak = scale * config.optimizer.base_learning_rate
    low = scale * config.optimizer.min_learning_rate
    if step < 2:
        return peak * step / 2
    return low + (peak - low) * (1 + math.cos(math.pi * (step - 2) / (STEPS - 2))) / 2


def train_with_pytorch(model: VideoMAEForVideoClassification, config: ConfigDict) -> list[float]:
    optimizer = config.optimizer
    groups = list(videomae_groups(model, optimizer.layer_decay, optimizer.weight_decay))
    adam = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8)
    mean, std = torch.tensor(config.data.mean), torch.tensor(config.data.std)
    losses = []
    for step, batch in enumerate(batches(config)):
        pixels = ((torch.from_numpy(batch["clips"]) / 255 - mean) / std).permute(0, 1, 4, 2, 3)
        logits = model(pixels.contiguous()).logits
        labels = torch.from_numpy(batch["label"]).long()
        loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
        for group in adam.param_groups:
            group["lr"] = rate(step, config) * group["lr_scale"]
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses


def train_with_jax(parameters: dict, config: ConfigDict) -> tuple[list[float], dict]:
    mesh = make_mesh(1)
    make_optimizer = partial(adamw, config, learning_rate(config, steps_per_epoch=1))
    make_model = partial(build.classifier, config, CLASSES)
    definition, state = create_state(make_model, make_optimizer, 0, mesh)
    step = make_train_step(
        definition,
        partial(classification_loss, config),
        make_optimizer(state.parameters),
        seed=config.seed,
        accumulation=config.accumulation,
        state=state,
        mesh=mesh,
    )
    assert state.parameters.keys() == parameters.keys()
    state = state._replace(parameters={k: jnp.array(v) for k, v in parameters.items()})
    losses = []
    for batch in batches(config):
        state, metrics = step(state, to_devices(batch, mesh))
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state.parameters)


def test_five_steps_equal_pytorchs():
    config = ntu60.get_config("finetune")
    config.model.variant, config.model.dtype, config.model.drop_path = "mini", "float32", 0.0
    config.data.num_frames, config.data.image_size, config.data.repeats = 4, 32, 1
    config.batch_size, config.epochs, config.optimizer.warmup_epochs = 8, STEPS, 2.0
    config.optimizer.base_learning_rate = 0.032  # 1e-3 at this batch
    theirs = huggingface(config).train()
    for module in theirs.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6  # fc_norm ignores the config
    randomize(theirs)
    before = {k: v.copy() for k, v in from_huggingface(dict(theirs.named_parameters())).items()}

    losses, ours = train_with_jax(before, config)
    expected_losses = train_with_pytorch(theirs, config)
    expected = from_huggingface(dict(theirs.named_parameters()))
    errors = {k: np.abs(ours[k] - v).max() / np.abs(v).max() for k, v in expected.items()}
    moved = {k: np.abs(before[k] - v).max() / np.abs(v).max() for k, v in expected.items()}
    worst = max(errors, key=errors.get)
    print(f"losses {losses}, theirs {expected_losses}")
    print(f"largest error {errors[worst]:.1e}, {worst}; least movement {min(moved.values()):.1e}")
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    assert errors[worst] < 1e-4, worst
    assert min(moved.values()) > 5e-4  # so that the errors would show
