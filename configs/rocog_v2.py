r"""RoCoG-v2, real clips, fine-tuned from NTU (Table 6, which does not say which; here NTU-120).

Its clips are single views: nothing to pre-train on.

    python -m mv2mae_jax.prepare rocog_v2 --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/rocog_v2.py --workdir=runs/rocog_v2 \
        --config.finetune.init_from=runs/ntu120

Variants: finetune (default), evaluate, probe, plan_finetune; protocol=ground (default) or air.
Paper: 89.0 top-1 (ground).
Cost: 0.14 M clips of 81 GFLOP, under a minute at 320 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "finetune") -> ConfigDict:
    """Transfer from NTU."""
    return base.get_transfer_config(variant, "rocog_v2", protocols=("ground", "air"))
