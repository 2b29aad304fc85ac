r"""Table 10: from how many source views? ETRI xsub, all views drawn at random.

    for s in 1 2 3; do
        python -m mv2mae_jax.main --config=configs/ablations/source_views.py:sources=$s \
            --workdir=runs/sources-$s
        python -m mv2mae_jax.main --config=configs/etri.py:finetune \
            --workdir=runs/sources-$s-finetune --config.finetune.init_from=runs/sources-$s
    done

Variants: pretrain, plan; sources=1 (default), 2 or 3.
Paper: 94.0, 93.9, 93.1.
Cost: 15 M samples of 2, 3 or 4 views: of 78, 121 or 165 GFLOP.
"""

from ml_collections import ConfigDict

from configs import base, etri


def get_config(variant: str = "pretrain") -> ConfigDict:
    """ETRI with several source views."""
    task, options = base.parse_variant(variant, tasks=("pretrain",), sources=("1", "2", "3"))
    config = etri.get_config(task)
    config.data.num_views = 1 + int(options["sources"])
    return config
