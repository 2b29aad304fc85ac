r"""The paper's claims on data that everyone can make: the roaming mannequin (docs/reproduction.md).

    python -m mv2mae_jax.prepare mannequin --staging=roaming --subjects=40 --short-side=64 \
        --raw-dir=raw --data-dir=data
    for m in videomae random_mask single_view mv2mae; do
        python -m mv2mae_jax.main --config=configs/reproduction.py:method=$m --workdir=runs/$m
        python -m mv2mae_jax.main --config=configs/reproduction.py:probe --workdir=runs/$m
        python -m mv2mae_jax.main --config=configs/reproduction.py:finetune \
            --workdir=runs/$m-finetune --config.finetune.init_from=runs/$m
    done

Variants: pretrain, finetune, evaluate, probe, plan, plan_finetune; scale=cpu (default), cpu_long
or gpu; protocol=xview (default) or xsub; method=mv2mae (default), or what it adds to in three
steps: videomae (one view, tube masks), random_mask (random ones instead), single_view (and motion
weights). Every run of a scale and protocol takes as many steps as every other.
"""

import math

from ml_collections import ConfigDict

from configs import base, mannequin

SCALES = ("cpu", "cpu_long", "gpu")
EPOCHS = {"xview": (32, 15), "xsub": (64, 20)}  # of pre-training, of fine-tuning: equal steps
WARMUP = 1 / 20  # of all epochs


def get_config(variant: str = "pretrain") -> ConfigDict:
    """Both protocols of the roaming mannequin, at every scale."""
    task, options = base.parse_variant(
        variant,
        scale=SCALES,
        protocol=("xview", "xsub"),
        method=("mv2mae", "videomae", "random_mask", "single_view"),
    )
    config = mannequin.get_config(f"{task},protocol={options['protocol']}")
    pretrains = task in base.PRETRAINING
    config.batch_size = 8
    config.epochs = EPOCHS[options["protocol"]][0 if pretrains else 1]
    config.optimizer.warmup_epochs = WARMUP * config.epochs
    config.probe.train_videos = 2000
    config.probe.test_videos = 2000
    if pretrains:
        config.optimizer.base_learning_rate = 0.064  # 2e-3 at this batch
        config.probe.every_epochs = 0.0
        config.pictures_every_epochs = 0.0
        set_method(config, options["method"])
    else:
        config.optimizer.base_learning_rate = 0.0096  # 3e-4 at this batch
    if options["scale"] == "cpu_long":
        set_long_cpu_scale(config)
    elif options["scale"] == "gpu":
        set_gpu_scale(config)
    return config


def set_method(config: ConfigDict, method: str) -> None:
    """The method, or one of those between it and VideoMAE."""
    base.set_method(config, "single_view" if method == "random_mask" else method)
    if method == "random_mask":
        config.objective.temperature = math.inf


def set_long_cpu_scale(config: ConfigDict) -> None:
    """4 times the samples, and pixels of less than half of the usual deviation.

    In steps 1,601 to 1,800 from scratch the training loss is 2.39 so, and 2.43 with ImageNet's
    deviations: what tubelets show is not so much more than where they are.
    """
    base.set_epochs(config, 4 * config.epochs)
    config.data.std = (0.5, 0.5, 0.5)


def set_gpu_scale(config: ConfigDict) -> None:
    """A larger encoder, smaller tubelets and 16 times the samples, in batches of 48.

    Every share of the data that is compared fills such batches: as many steps in as many passes.
    """
    config.model.variant = "tiny"
    config.model.dtype = "bfloat16"
    config.model.patch_size = (2, 7, 7)
    config.batch_size = 48
    base.set_epochs(config, 16 * config.epochs)
    config.optimizer.base_learning_rate /= 12  # 1e-3 and 1.5e-4 at this batch; not tried
    config.data.workers = base.FROM_CORES
