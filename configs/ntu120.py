"""NTU RGB+D 120 (Tables 2, 5, 15, 16, 17); commands as in configs/ntu60.py, from the same records.

Variants: pretrain, finetune, evaluate, probe, plan, plan_finetune;
protocol=xsub (default) or xset; method=mv2mae
(default), videomae or single_view.
Paper: 85.3 (xsub) and 87.1 (xset) top-1; VideoMAE 79.7 and 82.4; of xsub, all views together
87.9, a single clip and crop 77.3.
Cost: 33 M (xset 28 M) pairs of pre-training, 45 M (39 M) clips of fine-tuning: at 320 TFLOP/s 2.2
(1.9) and 3.2 (2.7) hours.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "pretrain") -> ConfigDict:
    """The paper's setting on NTU-120."""
    task, options = base.parse_variant(variant, protocol=("xsub", "xset"), method=base.METHODS)
    config = base.get_config()
    if task in base.PRETRAINING:
        base.set_long_pretraining(config)
        base.set_method(config, options["method"])
    else:
        base.set_long_finetuning(config)
    config.task = task
    config.data.dataset = "ntu"
    config.data.protocol = f"ntu120_{options['protocol']}"
    return config
