"""NTU RGB+D 120 (Tables 2, 15, 16); commands as in configs/ntu60.py, from the same records.

Variants: pretrain, finetune, evaluate, probe; protocol=xsub (default) or xset.
Paper: 85.3 (xsub) and 87.1 (xset) top-1. Cost: 34 M (xsub) pairs of pre-training.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "pretrain") -> ConfigDict:
    """The paper's setting on NTU-120."""
    task, options = base.parse_variant(variant, protocol="xsub")
    config = base.get_config()
    if task == "pretrain":
        config.epochs = 1600
        config.optimizer.warmup_epochs = 160.0
    else:
        base.set_finetuning(config)
        config.epochs = 120
        config.optimizer.warmup_epochs = 10.0
    config.task = task
    config.data.dataset = "ntu"
    config.data.protocol = f"ntu120_{options['protocol']}"
    return config
