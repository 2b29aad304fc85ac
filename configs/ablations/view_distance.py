r"""Table 11: how different should the views be? ETRI xsub, one target view, one source view.

    for s in 2 3 4; do
        python -m mv2mae_jax.main --config=configs/ablations/view_distance.py:source=$s \
            --workdir=runs/source-$s
        python -m mv2mae_jax.main --config=configs/etri.py:finetune \
            --workdir=runs/source-$s-finetune --config.finetune.init_from=runs/source-$s
    done

Variants: pretrain, plan; target=1 (default), source=2 (default): any of ETRI's cameras. The paper
names View1 to View4 and not the cameras; that View k is camera k is a guess.
Paper: 94.7, 94.4, 94.3 for View2 (nearest) to View4 (farthest).
Cost: 15 M pairs each, 78.4 GFLOP a pair.
"""

from ml_collections import ConfigDict

from configs import base, etri


def get_config(variant: str = "pretrain") -> ConfigDict:
    """ETRI with a fixed target and a fixed source view."""
    task, options = base.parse_variant(variant, tasks=("pretrain",), target="1", source="2")
    config = etri.get_config(task)
    config.data.target_view = options["target"]
    config.data.source_views = (options["source"],)
    return config
