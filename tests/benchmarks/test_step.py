"""The benchmark compares like with like."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from ml_collections import ConfigDict
from model.comparison import as_booleans

from benchmarks import rounds, torch_reference
from benchmarks import step as benchmark
from benchmarks.torch_step import fused_loss, plain_loss, strong_loss
from configs.base import get_config
from mv2mae_jax.interop.names import to_tensors
from mv2mae_jax.interop.pytorch import build
from mv2mae_jax.losses import draw_masks, pretraining_loss
from mv2mae_jax.model.build import grid_of, pretraining_model
from mv2mae_jax.training.parameters import split


@pytest.fixture(scope="module")
def config() -> ConfigDict:
    config = get_config()
    config.model.variant = "mini"
    config.model.dtype = "float32"
    config.data.num_frames, config.data.image_size = 4, 64
    config.batch_size = 2
    return config


@pytest.fixture(scope="module")
def batch(config) -> dict[str, jax.Array]:
    """Two moments of random brightness, so that some tubelets move more than others."""
    clips = rounds.random_batch(config)["clips"]
    clips[:, :, 2:, :32] //= 3
    return {"clips": jnp.array(clips), "index": jnp.arange(2)}


@pytest.fixture(scope="module")
def model(config):
    """Definition and parameters, all of them random."""
    definition, parameters = split(pretraining_model(config, nnx.Rngs(0)))
    random = np.random.default_rng(0)
    return definition, {
        name: value + jnp.float32(0.05 * random.normal(size=value.shape))
        for name, value in parameters.items()
    }


def test_reference_has_the_same_loss_and_gradients(config, model, batch):
    """Both views, both decoders, motion weights: all of Eq. 3."""
    definition, parameters = model
    keys = jax.random.split(jax.random.key(0), 2)

    @jax.jit
    def loss_and_gradients(parameters):
        return jax.value_and_grad(
            lambda p: pretraining_loss(config, definition.bind(p), batch, keys)[0]
        )(parameters)

    loss, grads = loss_and_gradients(parameters)

    patch_size = tuple(config.model.patch_size)
    reference = build(config, to_tensors(parameters, "videomae", patch_size))
    hidden = as_booleans(draw_masks(config, keys, 2))
    clips = torch.from_numpy(np.array(batch["clips"]))
    its_loss = torch_reference.pretraining_loss(config, reference, clips, hidden)
    its_loss.backward()

    assert abs(loss - its_loss.item()) < 1e-5 * loss
    theirs = {name: x.grad.numpy() for name, x in reference.named_parameters()}
    for name, expected in to_tensors(grads, "videomae", patch_size).items():
        error = np.abs(theirs.pop(name) - expected).max()
        assert error <= 2e-5 * np.abs(expected).max(), name
    assert not theirs


def test_reference_masks_a_fixed_number():
    hidden = torch_reference.random_masks(3, (8, 8, 8), 0.7, torch.device("cpu"))
    assert (hidden.sum(-1) == 358).all() and not torch.equal(hidden[0], hidden[1])


@pytest.fixture
def torch_inputs(config, model, batch, task) -> tuple:
    """PyTorch's model with random weights, clips, and masks or labels."""
    torch.manual_seed(0)
    parameters = model[1]
    clips = torch.from_numpy(np.array(batch["clips"]))
    if task == "pretrain":
        other = torch_reference.random_masks(2, grid_of(config), 0.7, torch.device("cpu"))
    else:
        clips, other = clips[:, 0], torch.tensor([1, 3])
        random = np.random.default_rng(1)
        parameters = {k: v for k, v in parameters.items() if k.startswith("encoder.")} | {
            "norm.scale": np.ones(128, np.float32),
            "norm.bias": np.zeros(128, np.float32),
            # Small: where the softmax saturates, rounding shows in the gradients.
            "head.kernel": 0.1 * random.normal(size=(128, 5)).astype(np.float32),
            "head.bias": np.zeros(5, np.float32),
        }
    tensors = to_tensors(parameters, "videomae", tuple(config.model.patch_size))
    return build(config, tensors), clips, other


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
@pytest.mark.parametrize("mode", ["none", pytest.param("default", marks=pytest.mark.slow)])
def test_all_steps_of_pytorch_have_the_same_numbers(config, torch_inputs, mode):
    module, *inputs = torch_inputs
    losses, grads = [], []
    for make_loss in (fused_loss, partial(strong_loss, mode=mode), plain_loss):
        module.zero_grad()
        loss = make_loss(config, module)(*inputs)
        loss.backward()
        losses.append(loss.item())
        grads.append({name: x.grad.clone() for name, x in module.named_parameters()})
    assert losses == pytest.approx(3 * losses[:1], rel=1e-5)
    for name, expected in grads[0].items():
        for other in grads[1:]:
            assert (other[name] - expected).abs().max() <= 1e-5 * expected.abs().max(), name


@pytest.mark.parametrize("task", ["pretrain", pytest.param("finetune", marks=pytest.mark.slow)])
def test_measures_all_from_the_same_start(config, task):
    """Four programs in processes of their own; a fifth one would not fit into memory."""
    asked = ["--task", task, "--clips", "2", "--rounds", "1", "--steps", "1", "--compile", "none"]
    arguments = benchmark._arguments([*asked, "--variant", "mini"])
    sizes = benchmark.config_of(arguments)
    sizes.data = config.data
    report = benchmark.measure(sizes, arguments)
    assert benchmark.wrong(report) == ""
    report["rows"].append({"samples": 2, "program": "larger"} | benchmark.summary([None], 1, ""))
    printed = benchmark.table(report)
    *rows, larger = report["rows"]
    programs = ["JAX", "plain PyTorch", "fused PyTorch", "strong PyTorch"]
    assert [row["program"] for row in rows] == programs
    for row in rows:
        before, after = row["losses"]
        assert after < 0.99 * before
        assert row["samples_per_second"]["min"] > 0 and row["peak_mib"]["min"] > 100
        assert row["framework"] in printed
    assert 1 < rows[0]["compiler_flops"] < 1.5  # it counts more than products
    assert len(larger) == 2 and "out of memory" in printed
    json.dumps(report)  # holds nothing that JSON does not know
    for number, when in ((1, "after"), (0, "before")):
        rows[2]["losses"][number] *= 1.001
        assert f"a batch of 2 {when} an update differ" in benchmark.wrong(report)
