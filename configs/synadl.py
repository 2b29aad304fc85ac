r"""SynADL, synthetic data for pre-training (Figure 3): fine-tuned and tested on ETRI.

    python -m mv2mae_jax.prepare synadl --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/synadl.py:protocol=4x --workdir=runs/synadl-4x
    python -m mv2mae_jax.main --config=configs/etri.py:finetune --workdir=runs/synadl-4x-etri \
        --config.finetune.init_from=runs/synadl-4x

Variants: pretrain, plan; protocol=1x (default), 2x or 4x, as many as ETRI trains on or a multiple.
Paper: 1x is below pre-training on ETRI itself, 4x above (a plot without numbers). The published
SynADL has at most 92,400 videos, enough for 1x; docs/datasets.md.
Cost: as pre-training on ETRI, for each: passes over the data are chosen for its 14,400 steps.
"""

from ml_collections import ConfigDict

from configs import base

# 28 cameras: 1x, 2x and 4x are 2,695, 5,390 and 10,780 activities, so 2, 5 and 10 whole batches.
EPOCHS = {"1x": 7200, "2x": 2880, "4x": 1440}


def get_config(variant: str = "pretrain") -> ConfigDict:
    """ETRI's setting on synthetic data, with the same number of steps for each amount of data."""
    task, options = base.parse_variant(variant, tasks=("pretrain",), protocol=("1x", "2x", "4x"))
    config = base.get_config()
    config.task = task
    config.epochs = EPOCHS[options["protocol"]]
    config.optimizer.warmup_epochs = config.epochs / 10
    config.data.dataset = "synadl"
    config.data.protocol = options["protocol"]
    return config
