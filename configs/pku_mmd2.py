r"""PKU-MMD II, fine-tuned from NTU-120 (Table 5); configs/ntu120.py pre-trains.

    python -m mv2mae_jax.prepare pku_mmd2 --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/pku_mmd2.py --workdir=runs/pku_mmd2 \
        --config.finetune.init_from=runs/ntu120

Variants: finetune (default), evaluate, probe, plan_finetune; protocol=xsub (default).
Paper: 60.1 top-1 (xsub).
Cost: about 4 M clips of 81 GFLOP, if as large a share of the 6,945 videos trains as of their
recordings (775 of 1,009).
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "finetune") -> ConfigDict:
    """Transfer from NTU."""
    return base.get_transfer_config(variant, "pku_mmd2", protocols=("xsub",))
