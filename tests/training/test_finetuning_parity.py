"""Fine-tuning against PyTorch: parameter groups by VideoMAE's rule, and five steps of AdamW.

Both sides train as in `benchmarks/finetuning_parity.py`; the groups are its and those of
`benchmarks/torch_step.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from model.comparison import from_huggingface, random_videomae
from transformers import VideoMAEForVideoClassification

from benchmarks.finetuning_parity import train_with_jax, train_with_pytorch
from benchmarks.rounds import random_batch
from benchmarks.torch_reference import parameter_groups
from configs import ntu60
from mv2mae_jax.interop import pytorch
from mv2mae_jax.interop.names import in_full, name_table, to_tensors
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.optimizer import update_rule
from mv2mae_jax.training.parameters import split

CLASSES, STEPS = 60, 5


def huggingface(config: ConfigDict) -> VideoMAEForVideoClassification:
    return random_videomae(
        VideoMAEForVideoClassification,
        VARIANTS[config.model.variant],
        config.data.num_frames,
        config.data.image_size,
        use_mean_pooling=True,
        num_labels=CLASSES,
    )


@pytest.mark.parametrize("model", ["huggingface", "classifier", "mv2mae"])
def test_rates_and_decays_of_every_parameter(model: str):
    """Read off the optimiser's updates: Adam turns a constant gradient into 1."""
    config = ntu60.get_config("finetune")

    def parameters_of(key: jax.Array) -> dict:
        if model == "mv2mae":
            return split(build.pretraining_model(config, nnx.Rngs(key)))[1]
        return split(build.classifier(config, CLASSES, nnx.Rngs(key)))[1]

    real = jax.eval_shape(parameters_of, jax.random.key(0))
    if model == "huggingface":
        naming, theirs = "huggingface", huggingface(config)
    else:
        naming, zeros = "videomae", {k: np.zeros(x.shape, np.float32) for k, x in real.items()}
        patch_size = tuple(config.model.patch_size)
        theirs = pytorch.build(config, to_tensors(zeros, "videomae", patch_size))
    ours_in = name_table(naming, real)
    names_of = {parameter: name for name, parameter in theirs.named_parameters()}
    expected = {
        name: (group["lr_scale"], group["weight_decay"])
        for group in parameter_groups(theirs, 0.9, 0.1)
        for parameter in group["params"]
        for name in ours_in[in_full(names_of[parameter])]
    }
    names = {name: (1,) * value.ndim for name, value in real.items()}  # values do not matter
    assert names.keys() == expected.keys()
    optimizer = update_rule(config, lambda step: 1.0, {k: jnp.zeros(v) for k, v in names.items()})
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
    return [random_batch(config, step, CLASSES) for step in range(STEPS)]


def test_five_steps_equal_pytorchs():
    config = ntu60.get_config("finetune")
    config.model.variant, config.model.dtype, config.model.drop_path = "mini", "float32", 0.0
    config.data.num_frames, config.data.image_size, config.data.repeats = 4, 32, 1
    config.batch_size, config.epochs, config.optimizer.warmup_epochs = 8, STEPS, 2.0
    config.optimizer.base_learning_rate = 0.032  # 1e-3 at this batch
    theirs = huggingface(config)
    before = {k: v.copy() for k, v in from_huggingface(dict(theirs.named_parameters())).items()}

    losses, ours = train_with_jax(config, before, batches(config))
    expected_losses = train_with_pytorch(config, theirs, batches(config))
    expected = from_huggingface(dict(theirs.named_parameters()))
    errors = {k: np.abs(ours[k] - v).max() / np.abs(v).max() for k, v in expected.items()}
    moved = {k: np.abs(before[k] - v).max() / np.abs(v).max() for k, v in expected.items()}
    worst = max(errors, key=errors.get)
    print(f"losses {losses}, theirs {expected_losses}")
    print(f"largest error {errors[worst]:.1e}, {worst}; least movement {min(moved.values()):.1e}")
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    assert errors[worst] < 1e-4, worst
    assert min(moved.values()) > 5e-4  # so that the errors would show
