"""The embedded data set: rendered people, three cameras, twelve actions; everything on a CPU.

    make demo

Variants: pretrain, finetune, evaluate, probe, plan, plan_finetune;
protocol=xview (default) or xsub.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "pretrain") -> ConfigDict:
    """A small encoder on 8 frames of 56 pixels; test camera 1, train cameras 2 and 3."""
    task, options = base.parse_variant(variant, protocol=("xview", "xsub"))
    config = base.get_config()
    if task not in base.PRETRAINING:
        base.set_finetuning(config)
    config.task = task
    config.data.dataset = "mannequin"
    config.data.protocol = options["protocol"]
    config.data.num_frames = 8
    config.data.image_size = 56
    config.data.workers = 0  # its frames are small: starting workers would take longer
    config.model.variant = "mini"
    config.model.patch_size = (2, 14, 14)
    config.model.positions = "separable"
    config.model.dtype = "float32"
    config.data.crop_scales = (1.0, 0.875)
    if task in base.PRETRAINING:
        config.objective.targets = "pixels"
        config.objective.temperature = 8.0
        config.batch_size = 4  # many small steps leave the first plateau sooner than few large ones
        config.epochs = 20
        config.optimizer.base_learning_rate = 0.128  # 2e-3 at this batch
        config.optimizer.warmup_epochs = 1.0
        config.probe.every_epochs = 5.0
        config.probe.train_videos = 240
        config.probe.test_videos = 120
        config.pictures_every_epochs = 10.0
    else:
        config.batch_size = 8
        config.data.crop = "multi_scale"
        config.data.randaug.operations = 0
        config.data.repeats = 1
        config.model.drop_path = 0.0  # so short a fine-tuning wants no brakes
        config.epochs = 18
        config.finetune.standardize = True
        config.optimizer.base_learning_rate = 0.0224  # 7e-4 at this batch
        config.optimizer.warmup_epochs = 0.5
        config.optimizer.layer_decay = 1.0
        config.evaluation.clips = 3
        config.evaluation.crops = 1
    return config
