r"""One's own data, built from a manifest (docs/own-data.md); a start to change.

    python -m mv2mae_jax.prepare manifest --manifest kitchen.csv --name kitchen \
        --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/custom.py:pretrain,dataset=kitchen \
        --workdir=runs/kitchen

Variants: pretrain, finetune, evaluate, probe, plan, plan_finetune;
dataset=NAME, which has to be given; protocol=all (default), or xview with
--config.data.test_views, or xsub with --config.data.test_subjects.
"""

from ml_collections import ConfigDict

from configs import base
from mv2mae_jax.errors import InputError


def get_config(variant: str = "pretrain") -> ConfigDict:
    """ViT-S with the paper's recipe at a batch that fits one accelerator."""
    task, options = base.parse_variant(variant, dataset="", protocol="all")
    if not options["dataset"]:
        raise InputError(
            f"configs/custom.py is for a data set of one's own; name it: {task},dataset=NAME"
        )
    config = base.get_config()
    config.batch_size = 256
    base.set_epochs(config, 800)
    if task not in base.PRETRAINING:
        base.set_finetuning(config)
        config.batch_size = 64
    config.task = task
    config.data.dataset = options["dataset"]
    config.data.protocol = options["protocol"]
    return config
