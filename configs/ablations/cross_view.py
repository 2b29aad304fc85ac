r"""Table 9: what is the cross-view decoder worth? NTU-120, xsub and xset.

    for p in xsub xset; do
        for d in with without; do
            python -m mv2mae_jax.main --workdir=runs/cross-view-$p-$d \
                --config=configs/ablations/cross_view.py:protocol=$p,decoder=$d
            python -m mv2mae_jax.main --config=configs/ntu120.py:finetune,protocol=$p \
                --workdir=runs/cross-view-$p-$d-finetune \
                --config.finetune.init_from=runs/cross-view-$p-$d
        done
    done

Variants: pretrain, plan; protocol=xsub (default) or xset; decoder=with (default) or without:
single views, as many clips and steps (configs/base.py: set_method).
Paper: 85.3 and 87.1 with it, 83.1 and 84.2 without.
Cost: 33 M (xset 28 M) pairs each, 78.4 GFLOP a pair; without the decoder about three quarters.
"""

from ml_collections import ConfigDict

from configs import base, ntu120


def get_config(variant: str = "pretrain") -> ConfigDict:
    """NTU-120 with or without the cross-view decoder."""
    task, options = base.parse_variant(
        variant, tasks=("pretrain",), protocol=("xsub", "xset"), decoder=("with", "without")
    )
    config = ntu120.get_config(task)
    config.data.protocol = f"ntu120_{options['protocol']}"
    base.set_method(config, "mv2mae" if options["decoder"] == "with" else "single_view")
    return config
