"""Northwestern-UCLA, fine-tuned from NTU-60 (Table 4); configs/ntu60.py pre-trains.

    python -m mv2mae_jax.prepare nucla --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/nucla.py --workdir=runs/nucla \
        --config.finetune.init_from=runs/ntu60

Variants: finetune (default), evaluate, probe; protocol=xview (default) or xsub.
Paper: 97.6 top-1 (xview).
Cost: 0.7 M clips of 82 GFLOP, 3 minutes at 320 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "finetune") -> ConfigDict:
    """Transfer from NTU."""
    task, options = base.parse_variant(
        variant, tasks=("finetune", "evaluate", "probe"), protocol=("xview", "xsub")
    )
    config = base.get_config()
    base.set_transfer(config)
    config.task = task
    config.data.dataset = "nucla"
    config.data.protocol = options["protocol"]
    return config
