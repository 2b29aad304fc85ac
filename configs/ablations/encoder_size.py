r"""Table 8: how large an encoder? NTU-120 xsub, 800 epochs.

    for e in tiny small base; do
        python -m mv2mae_jax.main --config=configs/ablations/encoder_size.py:encoder=$e \
            --workdir=runs/encoder-$e
        python -m mv2mae_jax.main --config=configs/ablations/encoder_size.py:finetune,encoder=$e \
            --workdir=runs/encoder-$e-finetune --config.finetune.init_from=runs/encoder-$e
    done

Variants: pretrain, finetune, evaluate, probe, plan, plan_finetune;
encoder=small (default), tiny or base.
Paper: 82.0, 83.4, 85.1 for ViT-T, S and B.
Cost: 16 M pairs each, of 24, 78 and 281 GFLOP; 45 M clips of fine-tuning, of 24, 81 and 292.
"""

from ml_collections import ConfigDict

from configs import base, ntu120


def get_config(variant: str = "pretrain") -> ConfigDict:
    """NTU-120 with another encoder, and the decoders that go with it."""
    task, options = base.parse_variant(variant, encoder=("small", "tiny", "base"))
    config = ntu120.get_config(task)
    if task in base.PRETRAINING:
        base.set_epochs(config, 800)
    config.model.variant = options["encoder"]
    return config
