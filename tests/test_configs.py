"""Every config in configs/ builds and takes one step of its task, at reduced size."""

import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.base import parse_variant
from mv2mae_jax.check import check
from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.tasks.finetune import classification_loss
from mv2mae_jax.tasks.pretrain import pretraining_loss
from mv2mae_jax.training.optimizer import adamw, learning_rate
from mv2mae_jax.training.sharding import make_mesh, to_devices
from mv2mae_jax.training.step import create_state, make_train_step

CONFIGS = sorted(p for p in Path("configs").glob("*.py") if p.stem not in ("__init__", "base"))
CLASSES = 5


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_configs():
    assert {"ntu60", "ntu120", "mannequin", "pose2sim", "custom"} <= {p.stem for p in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_takes_one_step(path: Path, task: str):
    config = load(path).get_config(task)
    assert config.task == task
    check(config)
    reduce(config)
    check(config)
    views = (config.data.num_views,) if task == "pretrain" else ()
    side = config.data.image_size
    rng = np.random.default_rng(0)
    shape = (2, *views, config.data.num_frames, side, side, 3)
    batch = {
        "clips": rng.integers(0, 256, shape).astype(np.uint8),
        "index": np.arange(2, dtype=np.int32),
        "label": np.array([0, 3], np.int32),
    }
    make_model = {
        "pretrain": partial(build.pretraining_model, config),
        "finetune": partial(build.classifier, config, CLASSES),
    }[task]
    loss = {"pretrain": pretraining_loss, "finetune": classification_loss}[task]
    mesh = make_mesh(1)
    make_optimizer = partial(adamw, config, learning_rate(config, 1))
    definition, state = create_state(make_model, make_optimizer, config.seed, mesh)
    before = jax.device_get(state.parameters)
    step = make_train_step(
        definition,
        partial(loss, config),
        make_optimizer(state.parameters),
        seed=0,
        accumulation=1,
        state=state,
        mesh=mesh,
    )
    state, metrics = step(state, to_devices(batch, mesh))
    assert np.isfinite(metrics["loss"])
    assert all(np.isfinite(value).all() for value in state.parameters.values())
    unchanged = [k for k, x in state.parameters.items() if np.array_equal(x, before[k])]
    assert not unchanged


def reduce(config: ConfigDict) -> None:
    """The same structure, as small as the tubelets allow, at a rate that shows in one step."""
    config.model.variant = "mini"
    config.data.num_frames = 2 * config.model.patch_size[0]
    config.data.image_size = 2 * config.model.patch_size[1]
    config.batch_size = 2
    config.data.repeats = 1
    config.optimizer.warmup_epochs = 0.0
    config.optimizer.base_learning_rate = 0.1  # times 2 / 256: enough to move every float32
    config.model.dtype = "float32"


def test_variants_have_options():
    assert parse_variant("", protocol="xsub") == ("pretrain", {"protocol": "xsub"})
    assert parse_variant("finetune,protocol=xview", protocol="xsub") == (
        "finetune",
        {"protocol": "xview"},
    )
    assert parse_variant("protocol=xview", protocol="xsub")[0] == "pretrain"
    with pytest.raises(InputError, match="no variant 'finetune,epochs=3'"):
        parse_variant("finetune,epochs=3", protocol="xsub")


def test_ntu_settings_are_the_papers():
    pretrain, finetune = (load(Path("configs/ntu60.py")).get_config(x) for x in ("", "finetune"))
    assert (pretrain.epochs, pretrain.optimizer.warmup_epochs) == (3200, 320)
    assert (pretrain.batch_size, pretrain.optimizer.base_learning_rate) == (1024, 1e-3)
    assert (pretrain.optimizer.b2, pretrain.optimizer.weight_decay) == (0.95, 0.05)
    assert (finetune.epochs, finetune.optimizer.warmup_epochs) == (35, 5)
    assert (finetune.optimizer.b2, finetune.optimizer.weight_decay) == (0.999, 0.1)
    assert (finetune.optimizer.layer_decay, finetune.model.drop_path) == (0.9, 0.1)
    assert (finetune.data.repeats, finetune.finetune.label_smoothing) == (6, 0.1)
    pretrain, finetune = (load(Path("configs/ntu120.py")).get_config(x) for x in ("", "finetune"))
    assert (pretrain.epochs, pretrain.optimizer.warmup_epochs) == (1600, 160)
    assert (finetune.epochs, finetune.optimizer.warmup_epochs) == (120, 10)
