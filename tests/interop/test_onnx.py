"""Exported to ONNX and run by its runtime, the encoder gives the numbers of ours."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx
from model.comparison import assert_same

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.interop import pytorch
from mv2mae_jax.interop.export import export
from mv2mae_jax.interop.names import to_tensors
from mv2mae_jax.interop.onnx import write_onnx
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import split

CLASSES = 5


@pytest.mark.parametrize(("classifies", "positions"), [(False, "flattened"), (True, "separable")])
def test_features_of_bytes(tmp_path, classifies, positions):
    """For any batch size, in a single file, with mean and standard deviation of the config."""
    config = get_config()
    config.data.num_frames, config.data.image_size = 6, 32
    config.data.mean = (0.4, 0.5, 0.6)
    config.model.variant, config.model.dtype = "mini", "float32"
    config.model.positions = positions
    rngs = nnx.Rngs(0)
    definition, parameters = split(
        build.classifier(config, CLASSES, rngs)
        if classifies
        else build.pretraining_model(config, rngs)
    )
    random = np.random.default_rng(0)
    parameters = {
        name: value + jnp.float32(0.1 * random.normal(size=value.shape))
        for name, value in parameters.items()
    }
    module = pytorch.build(config, to_tensors(parameters, "videomae", (2, 16, 16)))
    write_onnx(module, config, tmp_path / "encoder.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.onnx"]

    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    outputs = [output.name for output in session.get_outputs()]
    assert outputs == ["tokens", "features", "logits"][: 2 + classifies]
    encoder = FrozenEncoder(config, parameters)
    classify = jax.jit(lambda clips: definition.bind(parameters)(build.clip_patches(config, clips)))
    for batch in (1, 3):
        clips = random.integers(0, 256, (batch, 6, 32, 32, 3), dtype=np.uint8)
        tokens, features, *logits = session.run(None, {"clips": clips})
        assert_same(tokens, encoder.tokens(clips))
        assert_same(features, encoder.encode(clips))
        if classifies:
            assert_same(logits[0], classify(jnp.array(clips)))


def test_without_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"onnxscript, not installed: .* '\.\[torch,onnx\]'"):
        export(tmp_path, "onnx", tmp_path / "out")
