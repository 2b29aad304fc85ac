r"""NTU RGB+D 60, the paper's main setting (Tables 1, 4, 15, 16, 17).

    python -m mv2mae_jax.prepare ntu --raw-dir RAW --data-dir data
    python -m mv2mae_jax.main --config=configs/ntu60.py --workdir=runs/ntu60
    python -m mv2mae_jax.main --config=configs/ntu60.py:finetune --workdir=runs/ntu60-finetune \
        --config.finetune.init_from=runs/ntu60

and the baseline, pre-trained for as many steps on as many clips:

    python -m mv2mae_jax.main --config=configs/ntu60.py:method=videomae --workdir=runs/videomae
    python -m mv2mae_jax.main --config=configs/ntu60.py:finetune --workdir=runs/videomae-finetune \
        --config.finetune.init_from=runs/videomae

Variants: pretrain, finetune, evaluate, probe, plan, plan_finetune;
protocol=xsub (default) or xview; method=mv2mae
(default), videomae or single_view.
Paper: 90.0 (xsub) and 95.9 (xview) top-1; VideoMAE 85.2 and 92.7; of xsub, all views together
91.9, a single clip and crop 82.1.
Cost: 43 M (xview 59 M) pairs of pre-training, 78.4 GFLOP each, and 8.4 M (8.0 M) clips of
fine-tuning, 81 GFLOP each: 2.9 (4.0) and 0.6 hours at 320 TFLOP/s, 32 % of an H100's
989. The baseline's two clips need 31.9 GFLOP, 58.7 with `single_view`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "pretrain") -> ConfigDict:
    """The paper's setting on NTU-60."""
    task, options = base.parse_variant(variant, protocol=("xsub", "xview"), method=base.METHODS)
    config = base.get_config()
    if task in base.PRETRAINING:
        base.set_method(config, options["method"])
    else:
        base.set_finetuning(config)
    config.task = task
    config.data.dataset = "ntu"
    config.data.protocol = f"ntu60_{options['protocol']}"
    return config
