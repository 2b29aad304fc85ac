r"""Table 7: what share of the tubelets to mask? NTU-120 xsub.

    for r in 0.6 0.7 0.8 0.9; do
        python -m mv2mae_jax.main --config=configs/ablations/mask_ratio.py:ratio=$r \
            --workdir=runs/ratio-$r
        python -m mv2mae_jax.main --config=configs/ntu120.py:finetune \
            --workdir=runs/ratio-$r-finetune --config.finetune.init_from=runs/ratio-$r
    done

Variants: pretrain, plan; ratio=0.7 (default), 0.6, 0.8, 0.9.
Paper: 83.6, 85.3, 84.3, 83.4 for 0.6 to 0.9.
Cost: 33 M pairs each; of 93, 78, 64 and 50 GFLOP.
"""

from ml_collections import ConfigDict

from configs import base, ntu120


def get_config(variant: str = "pretrain") -> ConfigDict:
    """NTU-120 at another mask ratio."""
    task, options = base.parse_variant(
        variant, tasks=("pretrain",), ratio=("0.7", "0.6", "0.8", "0.9")
    )
    config = ntu120.get_config(task)
    config.masking.ratio = float(options["ratio"])
    return config
