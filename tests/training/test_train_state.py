"""What a step does beside its update: stops at what is not finite, averages, leaves parts out."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from configs.mannequin import get_config
from mv2mae_jax.learner import learner_of
from mv2mae_jax.training.checkpoints import Checkpoints, load_parameters
from mv2mae_jax.training.sharding import make_mesh, to_devices
from mv2mae_jax.training.step import Learner, assemble, create_state, make_train_step


class Line(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.slope = nnx.Param(jax.random.normal(rngs.params(), (4,)))
        self.offset = nnx.Param(jnp.ones(4))


def line_loss(model: Line, batch: dict, keys: jax.Array):
    """Not finite where x is 0."""
    values = model.slope[...] / batch["x"][:, None] + model.offset[...]
    return jnp.square(values).mean(), {}


def line(**options):
    """State, step and a function that makes a batch of x."""
    mesh = make_mesh(1)
    averaged, adam = "ema_decay" in options, optax.adam(0.1)
    learner = Learner(Line, line_loss)
    definition, state = create_state(learner, lambda _: adam, 0, mesh, averaged=averaged)
    step = make_train_step(
        definition,
        learner,
        adam,
        seed=0,
        accumulation=options.pop("accumulation", 1),
        state=state,
        mesh=mesh,
        **options,
    )

    def batch(*x: float) -> dict:
        index = np.arange(len(x), dtype=np.int32)
        return to_devices({"x": np.array(x, np.float32), "index": index}, mesh)

    return state, step, batch


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_that_is_not_finite_changes_nothing_and_neither_do_later_ones(accumulation: int):
    state, step, batch = line(accumulation=accumulation, ema_decay=0.9)
    for x in (1.0, 2.0):
        state, metrics = step(state, batch(x, 3.0))
    assert not state.halted
    assert np.isfinite(jax.tree.leaves(metrics)).all()
    good = jax.device_get(state)
    for x in (0.0, 1.0, 0.0, 2.0):
        state, _ = step(state, batch(3.0, x))
        assert state.halted
        same = jax.tree.map(np.array_equal, good._replace(halted=True), jax.device_get(state))
        assert all(jax.tree.leaves(same)), same
    state, _ = step(state._replace(halted=~state.halted), batch(1.0, 3.0))
    assert not state.halted
    assert state.step == 3
    assert (state.parameters["slope"] != good.parameters["slope"]).all()


def test_a_step_takes_the_memory_of_the_state_before_it():
    given, step, batch = line()
    step(given, batch(1.0, 2.0))
    assert given.parameters["slope"].is_deleted()


def test_norms_by_hand():
    state, step, batch = line()
    before = jax.device_get(state.parameters)
    state, metrics = step(state, batch(2.0, 2.0))
    after = jax.device_get(state.parameters)
    gradient = (before["slope"] / 2 + before["offset"]) / 2  # of the mean of four squares
    both = np.concatenate([gradient / 2, gradient])
    assert float(metrics["gradient_norm"]) == pytest.approx(np.linalg.norm(both), rel=1e-6)
    moved = np.concatenate([after[name] - before[name] for name in before])
    assert float(metrics["update_norm"]) == pytest.approx(np.linalg.norm(moved), rel=1e-5)
    everything = np.concatenate(list(after.values()))
    assert float(metrics["parameter_norm"]) == pytest.approx(np.linalg.norm(everything), rel=1e-6)


def test_average_by_hand():
    state, step, batch = line(ema_decay=0.3)
    expected = np.asarray(state.parameters["slope"])
    for t in range(6):
        state, _ = step(state, batch(1.0 + t, 2.0))
        decay = min(0.3, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * np.asarray(state.parameters["slope"])
        np.testing.assert_allclose(state.average["slope"], expected, rtol=1e-6)
    assert decay == 0.3  # the first steps had less
    np.testing.assert_array_equal(state.result["slope"], state.average["slope"])
    assert not np.allclose(state.average["slope"], state.parameters["slope"], rtol=1e-3)


def test_everything_after_training_gets_the_average_where_there_is_one(tmp_path: Path):
    for name, options in (("plain", {}), ("averaged", {"ema_decay": 0.9})):
        state, step, batch = line(**options)
        for _ in range(12):
            state, _ = step(state, batch(1.0, 2.0))
        with Checkpoints(tmp_path / name) as checkpoints:
            checkpoints.save(12, state, get_config())
        with Checkpoints(tmp_path / name) as checkpoints:
            restored = checkpoints.restore(state)
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, restored, state)))
        loaded, _ = load_parameters(tmp_path / name)
        source = state.average if options else state.parameters
        for key, value in loaded.items():
            np.testing.assert_array_equal(value, source[key])


@pytest.fixture(scope="module")
def finetuning():
    """Config, batch, and a function from trainable_blocks to state and step of a classifier."""
    config = get_config("finetune")
    config.data.num_frames, config.data.image_size, config.model.patch_size = 4, 32, (2, 16, 16)
    config.optimizer.warmup_epochs = 0.0
    mesh = make_mesh(1)
    rng = np.random.default_rng(0)
    batch = {
        "clips": rng.integers(0, 256, (4, 4, 32, 32, 3)).astype(np.uint8),
        "label": np.arange(4, dtype=np.int32),
        "index": np.arange(4, dtype=np.int32),
    }

    def make(blocks: int):
        config.finetune.trainable_blocks = blocks
        _, state, step = assemble(config, learner_of(config, 5), 10, mesh)
        return state, step

    return make, to_devices(batch, mesh)


@pytest.fixture(scope="module")
def flops_of_all(finetuning) -> float:
    make, batch = finetuning
    state, step = make(-1)
    return step.lower(state, batch).compile().cost_analysis()["flops"]


@pytest.mark.parametrize(("blocks", "share"), [(-1, 1.0), (1, 0.6), (0, 0.4)])
def test_frozen_parameters_stay_and_cost_no_backward_pass(
    finetuning, flops_of_all: float, blocks: int, share: float
):
    make, batch = finetuning
    state, step = make(blocks)
    compiled = step.lower(state, batch).compile()
    assert compiled.cost_analysis()["flops"] <= share * flops_of_all
    before = jax.device_get(state.parameters)
    for _ in range(3):
        state, _ = compiled(state, batch)
    changed = {
        name for name, old in before.items() if not np.array_equal(old, state.parameters[name])
    }
    trains = ("encoder." if blocks == -1 else "encoder.blocks.3.", "norm.", "head.")
    trains = trains[blocks == 0 :]
    assert changed == {name for name in before if name.startswith(trains)}
