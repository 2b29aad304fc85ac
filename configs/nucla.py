r"""Northwestern-UCLA, fine-tuned from NTU-60 (Table 4); configs/ntu60.py pre-trains.

    python -m mv2mae_jax.prepare nucla --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/nucla.py --workdir=runs/nucla \
        --config.finetune.init_from=runs/ntu60

Variants: finetune (default), evaluate, probe, plan_finetune; protocol=xview (default) or xsub.
Paper: 97.6 top-1 (xview).
Cost: 0.7 M clips of 81 GFLOP, 3 minutes at 320 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "finetune") -> ConfigDict:
    """Transfer from NTU."""
    return base.get_transfer_config(variant, "nucla", protocols=("xview", "xsub"))
