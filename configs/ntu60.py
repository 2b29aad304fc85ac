"""NTU RGB+D 60, the paper's main setting (Tables 1, 15, 16).

    python -m mv2mae_jax.prepare ntu --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/ntu60.py --workdir=runs/ntu60
    python -m mv2mae_jax.main --config=configs/ntu60.py:finetune --workdir=runs/ntu60-finetune \
        --config.finetune.init_from=runs/ntu60

Variants: pretrain, finetune, evaluate, probe; protocol=xsub (default) or xview.
Paper: 90.0 (xsub) and 95.9 (xview) top-1. Cost: 61 M pairs of pre-training, 80.9 GFLOP each.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "pretrain") -> ConfigDict:
    """The paper's setting on NTU-60."""
    task, options = base.parse_variant(variant, protocol="xsub")
    config = base.get_config()
    if task != "pretrain":
        base.set_finetuning(config)
    config.task = task
    config.data.dataset = "ntu"
    config.data.protocol = f"ntu60_{options['protocol']}"
    return config
