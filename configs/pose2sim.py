"""Four synchronised cameras, one person: real footage that everybody can get (docs/own-data.md).

    make footage

builds its records, runs this config for a minute or two on a CPU, draws a reconstruction and makes
a report. Four short activities are too few to learn actions from; real video passes through every
part.

Variants: pretrain (default), plan.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "pretrain") -> ConfigDict:
    """A small encoder on 8 frames of 64 pixels, two of the four cameras at a time."""
    task, _ = base.parse_variant(variant, tasks=("pretrain",))
    config = base.get_config()
    config.task = task
    config.data.dataset = "pose2sim"
    config.data.protocol = "all"
    config.data.num_frames = 8
    config.data.stride = 3
    config.data.image_size = 64
    config.model.variant = "mini"
    config.model.patch_size = (2, 8, 8)
    config.model.positions = "separable"
    config.model.dtype = "float32"
    config.objective.targets = "pixels"
    config.objective.temperature = 5.0
    config.batch_size = 4
    config.epochs = 300
    config.optimizer.base_learning_rate = 0.064  # 1e-3 at this batch
    config.optimizer.warmup_epochs = 15.0
    return config
