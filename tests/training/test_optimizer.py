"""The schedule by hand, and AdamW with all its rules against PyTorch's."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from configs.base import get_config
from mv2mae_jax.model import build
from mv2mae_jax.training.optimizer import (
    decays,
    describe,
    layer_scales,
    learning_rate,
    trainable_parameters,
    update_rule,
)
from mv2mae_jax.training.parameters import split


def test_schedule_by_hand():
    config = get_config()
    config.batch_size, config.epochs, config.optimizer.warmup_epochs = 512, 10, 2.0
    rate = learning_rate(config, steps_per_epoch=50)
    peak, low = 2e-3, 2e-5  # 1e-3 and 1e-5 at 256
    assert float(rate(0)) == 0.0
    assert float(rate(50)) == pytest.approx(peak / 2)
    assert float(rate(100)) == pytest.approx(peak)
    assert float(rate(300)) == pytest.approx((peak + low) / 2, rel=1e-5)
    assert float(rate(500)) == pytest.approx(low, rel=1e-5)
    quarter = low + (peak - low) * (1 + math.cos(math.pi / 4)) / 2
    assert float(rate(200)) == pytest.approx(quarter, rel=1e-5)


def test_the_warmup_ends_at_the_nearest_step():
    config = get_config()
    config.batch_size, config.epochs, config.optimizer.warmup_epochs = 256, 1, 0.29
    rate = learning_rate(config, steps_per_epoch=100)  # 0.29 x 100 is a little less than 29
    assert float(rate(29)) == pytest.approx(1e-3)
    assert float(rate(28)) < 0.98e-3


def test_a_run_shorter_than_its_warmup():
    config = get_config()
    config.batch_size, config.epochs, config.optimizer.warmup_epochs = 256, 2, 8.0
    assert float(learning_rate(config, steps_per_epoch=10)(20)) == pytest.approx(1e-3 / 4)
    assert "warm-up 20 of 20 steps" in describe(config, 10, "pairs")


def test_the_cosine_never_rises():
    config = get_config()
    config.batch_size, config.epochs, config.optimizer.warmup_epochs = 256, 4, 1.0
    config.optimizer.base_learning_rate, config.optimizer.min_learning_rate = 1e-6, 1e24
    rate = learning_rate(config, steps_per_epoch=10)
    assert [float(rate(step)) for step in (10, 20, 40)] == pytest.approx([1e-6] * 3)


def test_repeats_do_not_raise_the_rate():
    config = get_config()
    once = learning_rate(config, 10)(3200)
    config.data.repeats = 6
    assert learning_rate(config, 10)(3200) == once


def test_the_rule_says_what_it_did():
    config = get_config()
    config.accumulation = 2
    assert describe(config, 185, "pairs") == (
        "learning rate 0.004 = 0.001 x 1024 / 256; warm-up 59,200 of 592,000 steps; "
        "a step is 1,024 pairs in 2 micro-batches of 512"
    )
    config.optimizer.reference_batch, config.accumulation, config.data.repeats = 512, 1, 2
    assert describe(config, 185, "clips") == (
        "learning rate 0.002 = 0.001 x 1024 / 512; warm-up 59,200 of 592,000 steps; "
        "a step is 1,024 clips x 2 repeats"
    )
    assert float(learning_rate(config, 185)(59_200)) == pytest.approx(0.002)
    config.accumulation = 4
    assert describe(config, 185, "clips").endswith("x 2 repeats in 4 micro-batches of 512")


@pytest.fixture(scope="module")
def classifier_parameters() -> dict:
    config = get_config()
    config.model.variant, config.data.num_frames, config.data.image_size = "mini", 4, 32
    return split(build.classifier(config, 5, nnx.Rngs(0)))[1]


def test_layer_scales_by_hand(classifier_parameters: dict):
    scales = layer_scales(classifier_parameters, 0.5)
    assert scales["encoder.embed.kernel"] == 0.5**5
    assert scales["encoder.blocks.0.mlp.up.kernel"] == 0.5**4
    assert scales["encoder.blocks.3.norm1.scale"] == 0.5
    assert scales["norm.scale"] == scales["head.kernel"] == 1


def test_only_matrices_decay(classifier_parameters: dict):
    decayed = {name for name, decay in decays(classifier_parameters).items() if decay}
    assert decayed == {name for name in classifier_parameters if name.endswith("kernel")}


@pytest.mark.parametrize(
    ("last_blocks", "trains"),
    [
        (-1, {"encoder.embed", *(f"encoder.blocks.{n}" for n in range(4))}),
        (0, set()),
        (1, {"encoder.blocks.3"}),
        (3, {f"encoder.blocks.{n}" for n in (1, 2, 3)}),
        (4, {f"encoder.blocks.{n}" for n in range(4)}),  # all blocks, and still no embedding
    ],
)
def test_which_part_of_the_encoder_trains(
    classifier_parameters: dict, last_blocks: int, trains: set[str]
):
    def module(name: str) -> str:
        return re.match(r"encoder\.(embed|blocks\.\d)|\w+", name)[0]

    trainable = trainable_parameters(classifier_parameters, last_blocks)
    modules = {module(name) for name in trainable}
    assert modules == trains | {"norm", "head"}
    for name, value in classifier_parameters.items():  # of a module all, or nothing
        assert (name in trainable) == (module(name) in modules)
        assert name not in trainable or trainable[name] is value


@pytest.mark.parametrize("clip_norm", [0.0, 500.0])
def test_adamw_with_layer_decay_equals_pytorchs(classifier_parameters: dict, clip_norm: float):
    config = get_config()
    config.optimizer.clip_norm = clip_norm
    config.batch_size, config.epochs, config.optimizer.warmup_epochs = 256, 8, 3.0
    config.optimizer.layer_decay = 0.7
    schedule = learning_rate(config, steps_per_epoch=1)
    optimizer = update_rule(config, schedule, classifier_parameters)
    scales = layer_scales(classifier_parameters, 0.7)
    theirs = {k: torch.tensor(np.asarray(x)) for k, x in classifier_parameters.items()}
    groups = [
        {"params": [x], "name": k, "weight_decay": 0.05 if x.ndim > 1 else 0.0}
        for k, x in theirs.items()
    ]
    torch_optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8)

    ours, state = classifier_parameters, optimizer.init(classifier_parameters)
    rng = np.random.default_rng(0)
    norms = []
    for step in range(6):
        size = np.float32(0.3 if step % 2 else 1.0)
        grads = {k: size * rng.standard_normal(x.shape, np.float32) for k, x in ours.items()}
        updates, state = jax.jit(optimizer.update)(grads, state, ours)
        ours = {k: x + updates[k] for k, x in ours.items()}
        for group in torch_optimizer.param_groups:
            group["lr"] = float(schedule(step)) * scales[group["name"]]
            group["params"][0].grad = torch.tensor(grads[group["name"]])
        if clip_norm:
            norms.append(float(torch.nn.utils.clip_grad_norm_(theirs.values(), clip_norm)))
        torch_optimizer.step()
    assert not norms or min(norms) < clip_norm < max(norms)  # some are clipped, some are not
    assert not jnp.allclose(ours["head.kernel"], classifier_parameters["head.kernel"])
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-7, err_msg=name)
