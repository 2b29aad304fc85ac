r"""Figure 4: how much emphasis on what moves? NTU-120 xsub, 1,200 epochs.

    for t in 15 30 60 120 240 inf; do
        python -m mv2mae_jax.main --config=configs/ablations/temperature.py:temperature=$t \
            --workdir=runs/temperature-$t
        python -m mv2mae_jax.main --config=configs/ntu120.py:finetune \
            --workdir=runs/temperature-$t-finetune --config.finetune.init_from=runs/temperature-$t
    done

Variants: pretrain, plan; temperature=60 (default), any positive number, or inf: no weights.
Paper: 60 is best; 82.46 without weights (the figure's other values are not printed).
Cost: 25 M pairs each, 78.4 GFLOP a pair.
"""

from ml_collections import ConfigDict

from configs import base, ntu120


def get_config(variant: str = "pretrain") -> ConfigDict:
    """NTU-120 at another temperature."""
    task, options = base.parse_variant(variant, tasks=("pretrain",), temperature="60")
    config = ntu120.get_config(task)
    base.set_epochs(config, 1200)
    config.objective.temperature = base.number(options, "temperature")
    return config
