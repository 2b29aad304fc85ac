r"""ETRI-Activity3D (Tables 3, 15, 16), and the real side of Figure 3.

    python -m mv2mae_jax.prepare etri --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/etri.py --workdir=runs/etri
    python -m mv2mae_jax.main --config=configs/etri.py:finetune --workdir=runs/etri-finetune \
        --config.finetune.init_from=runs/etri

Variants: pretrain, finetune, evaluate, probe, plan, plan_finetune;
method=mv2mae (default), videomae or single_view.
Paper: 96.5 top-1 (xsub), VideoMAE 93.4.
Cost: 15 M pairs of pre-training, 54 M clips of fine-tuning: at 320 TFLOP/s 1.0 and 3.8 hours.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "pretrain") -> ConfigDict:
    """The paper's setting on ETRI, cross-subject."""
    task, options = base.parse_variant(variant, method=base.METHODS)
    config = base.get_config()
    if task in base.PRETRAINING:
        base.set_long_pretraining(config)
        base.set_method(config, options["method"])
    else:
        base.set_long_finetuning(config)
    config.task = task
    config.data.dataset = "etri"
    config.data.protocol = "xsub"
    return config
