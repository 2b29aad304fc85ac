"""The encoder as ONNX: from bytes to features, for programs that have neither JAX nor PyTorch."""

import logging
import warnings
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from torch import Tensor, nn

from mv2mae_jax.interop.pytorch import MV2MAE, Classifier, Encoder, Exported


class _FromBytes(nn.Module):
    """Normalises clips itself, so that nobody can get that wrong."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, clips: UInt8[Tensor, "B T H W C"]) -> tuple[Float[Tensor, "B ..."], ...]:
        """Features of tubelets and of the clip; a classifier's logits."""
        encoded = self.encoder.encode(self.encoder.normalize(clips))
        tokens, features = self.encoder.read_out(encoded)
        if isinstance(self.encoder, Classifier):
            return tokens, features, self.encoder.head(features)
        return tokens, features


def write_onnx(module: Exported, config: ConfigDict, file: str | Path) -> None:
    """Writes an encoder for any batch size, in one file.

    Its input is `clips`, uint8 [B T H W 3]; its outputs are `tokens` [B N D] and `features` [B D],
    those of `FrozenEncoder`, and of a classifier `logits` [B classes] besides; all are float32.
    Decoders are left out.

    Args:
      module: of `pytorch.load` or `pytorch.build`.
      config: of the run.
      file: to write.
    """
    encoder = module.encoder if isinstance(module, MV2MAE) else module
    size = config.data.image_size
    clips = torch.zeros(2, config.data.num_frames, size, size, 3, dtype=torch.uint8)
    outputs = ["tokens", "features", "logits"]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # torchvision is not here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch to itself
        torch.onnx.export(
            _FromBytes(encoder).eval(),
            (clips,),
            file,
            input_names=["clips"],
            output_names=outputs if isinstance(encoder, Classifier) else outputs[:2],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
