"""Defaults of every experiment: the paper's setting, each field explained where it stands.

A file in this folder is one data set: it starts from `get_config()`, changes what differs, and
offers variants by name (`configs/ntu60.py:finetune,protocol=xview`). Any field can be overridden
on the command line: `--config.batch_size=256`.
"""

import math

import ml_collections

from mv2mae_jax.errors import InputError, did_you_mean

FROM_CORES = -1  # `data.workers`: one for every `data.threads` cores that may be used

TASKS = ("pretrain", "finetune", "evaluate", "probe")
PLANS = {"plan": "pretrain", "plan_finetune": "finetune"}  # what each says the cost of
PRETRAINING = ("pretrain", "plan")  # tasks that have the settings of pre-training


def parse_variant(
    variant: str, tasks: tuple[str, ...] = TASKS, **choices: str | tuple[str, ...]
) -> tuple[str, dict[str, str]]:
    """Splits `finetune,protocol=xview` into the task and its options.

    Args:
      variant: a task, then options, separated by commas.
      tasks: that a config is for, besides their plans; the first is meant when none is named.
      **choices: the options that a config knows: the values of each, the default first, or only
        the default of an option that takes any value.

    Raises:
      InputError: no such task, option or value.
    """
    named, *given = variant.split(",")
    if "=" in named:
        named, given = "", [named, *given]
    options = dict(option.partition("=")[::2] for option in given)
    if len(options) < len(given):
        raise InputError(f"{variant!r} has an option twice; give each once")
    task = named or tasks[0]
    tasks += tuple(plan for plan, planned in PLANS.items() if planned in tasks)
    closed = {name: values for name, values in choices.items() if isinstance(values, tuple)}
    wrong = [task] if task not in tasks else []
    wrong += [
        f"{name}={value}"
        for name, value in options.items()
        if name not in choices or value not in closed.get(name, (value,))
    ]
    if "method" in options and task in tasks and task not in PRETRAINING:
        raise InputError(
            f"method={options['method']} is a way of pre-training, not of {task}; leave it out: a "
            "fine-tuning starts from the run that --config.finetune.init_from names"
        )
    if wrong:
        known = [f"{name}={'|'.join(closed.get(name, ('...',)))}" for name in choices]
        names = [f"{name}={value}" for name, values in closed.items() for value in values]
        raise InputError(
            f"no variant {variant!r}; it is one of {', '.join(tasks)}"
            + (f", followed by any of {', '.join(known)}" if known else "")
            + did_you_mean(wrong[0], [*tasks, *names])
        )
    defaults = {name: v if isinstance(v, str) else v[0] for name, v in choices.items()}
    return task, defaults | options


def number(options: dict[str, str], name: str) -> float:
    """The value of an option that is a number.

    Raises:
      InputError: it is none.
    """
    try:
        return float(options[name])
    except ValueError:
        raise InputError(f"{name}={options[name]} is not a number") from None


def get_config() -> ml_collections.ConfigDict:
    """The pre-training setting of Table 15 (NTU-60), on ViT-S/16."""
    config = ml_collections.ConfigDict()
    config.task = "pretrain"  # pretrain | finetune | evaluate | probe | plan | plan_finetune
    config.seed = 0  # everything random is a function of (seed, running number of the sample)

    config.data = data = ml_collections.ConfigDict()
    data.data_dir = "data"  # where `python -m mv2mae_jax.prepare` wrote its records; or gs://...
    data.dataset = "ntu"  # folder below data_dir
    data.protocol = "ntu60_xsub"  # what is for training, what for testing; data/protocols.py
    data.test_views = ()  # protocol xview of one's own data: the views kept for testing
    data.test_subjects = ()  # protocol xsub: the subjects kept for testing
    data.validation_subjects = ()  # taken out of the training split, for making choices
    data.evaluate_on = "test"  # test | validation: the split that evaluate and probe measure
    data.train_fraction = 1.0  # of the training activities of each class; the same at every run
    data.num_frames = 16  # T, frames of a clip (Table 12)
    data.stride = 4  # stored frames between two frames of a clip (Table 12)
    data.image_size = 128  # H = W of a clip, pixels
    data.num_views = 2  # views of one activity in a pre-training sample: a target and its sources
    data.target_view = ""  # the view that comes first in every sample (Table 11); empty: drawn
    data.source_views = ()  # the views that all others are drawn from (Table 11); empty: any
    data.crops = "independent"  # independent | shared: crop and RandAug drawn per view or activity
    data.crop = "multi_scale"  # multi_scale (Table 15) | random_resized (VideoMAE's fine-tuning)
    data.crop_scales = (1.0, 0.875, 0.75, 0.66)  # multi_scale: of the short side
    data.crop_area = (0.08, 1.0)  # random_resized: share of the frame's area
    data.crop_aspect = (0.75, 4 / 3)  # random_resized: width to height
    data.flip = False  # mirror half of the clips (Table 16: in fine-tuning only)
    data.randaug = randaug = ml_collections.ConfigDict()  # RandAugment (Table 16: in fine-tuning)
    randaug.operations = 0  # on every frame of a clip alike, each taken half of the time; 0: none
    randaug.magnitude = 7.0  # of 10
    randaug.std = 0.5  # standard deviation of the magnitude
    data.repeats = 1  # crops (and masks) drawn from one decoded activity ("repeated augmentation")
    data.workers = FROM_CORES  # loader processes; 0: threads of this process; -1: cores / threads
    data.threads = 4  # decoding threads of each loader process
    data.bad_records = 0  # activities that may be damaged; training replaces them by others
    data.mean = (0.485, 0.456, 0.406)  # subtracted from RGB in [0, 1]: ImageNet's
    data.std = (0.229, 0.224, 0.225)  # what is left is divided by

    config.model = model = ml_collections.ConfigDict()
    model.variant = "small"  # mini | tiny | small | base | large (model/variants.py)
    model.patch_size = (2, 16, 16)  # tubelet: frames, height, width (Table 12)
    model.positions = "flattened"  # flattened (VideoMAE) | separable (time, height, width)
    model.dtype = "bfloat16"  # of activations, bfloat16 | float32; softmax and all else: float32
    model.drop_path = 0.0  # fine-tuning: stochastic depth at the last block, growing from 0
    model.projector = "shared"  # shared | separate: of the two decoders, with the mask token
    model.remat = False  # compute activations of a block again in its backward pass: less memory

    config.masking = masking = ml_collections.ConfigDict()
    masking.kind = "random"  # random | tube (the same places in every frame)
    masking.ratio = 0.7  # rho (Table 7)
    masking.views = "independent"  # independent | shared: is a mask drawn per view, or per activity

    config.objective = objective = ml_collections.ConfigDict()
    objective.targets = "normalized"  # normalized (per tubelet and channel) | pixels (in [0, 1])
    objective.motion = "frame_difference"  # frame_difference | motion_history (objective.py)
    objective.motion_space = "normalized"  # of its pixels: normalized (by mean, std) | unit | bytes
    objective.motion_threshold = 0.5  # motion_history: what moves changes by more, in that space
    objective.temperature = 60.0  # tau of the motion weights (Figure 4); inf: every token alike
    objective.softmax_over = "all"  # all tokens (Algorithm 1) | masked tokens alone
    objective.weight_scale = "mean_one"  # mean_one: tau -> inf gives Eq. 1 | literal: Eq. 2 as read
    objective.cross_view = 1.0  # lambda of Eq. 3; 0: no cross-view decoder

    config.batch_size = 1024  # activities (fine-tuning: videos) a step, over all devices
    config.accumulation = 1  # micro-batches a step is split into, to fit the memory
    config.ema_decay = 0.0  # of averaged weights, which everything after training uses; 0: none
    config.epochs = 3200  # passes over the training activities (fine-tuning: videos)

    config.optimizer = optimizer = ml_collections.ConfigDict()
    optimizer.base_learning_rate = 1e-3  # times batch_size / reference_batch
    optimizer.min_learning_rate = 1e-5  # of the cosine; scaled too, at most the base rate
    optimizer.reference_batch = 256  # the batch that rates are given for (VideoMAE's rule)
    optimizer.warmup_epochs = 320.0  # the rate rises linearly from 0, before the cosine
    optimizer.b1 = 0.9  # AdamW's decay of the mean of gradients
    optimizer.b2 = 0.95  # and of the mean of their squares
    optimizer.weight_decay = 0.05  # of matrices only, times the rate
    optimizer.layer_decay = 1.0  # factor on the learning rate from one layer to the one below it
    optimizer.clip_norm = 0.0  # longest gradient, over all parameters together; 0: no clipping

    config.pretrain = pretrain = ml_collections.ConfigDict()
    pretrain.init_from = ""  # start: work directory or weights (docs/pytorch.md); empty: random

    config.finetune = finetune = ml_collections.ConfigDict()
    finetune.init_from = ""  # start of the encoder: work directory or weights; empty: random
    finetune.standardize = False  # with init_from: pooled features start at mean 0, variance 1
    finetune.trainable_blocks = -1  # last blocks that train, with norm and head; 0: none; -1: all
    finetune.validate_every_epochs = 10.0  # tests of the validation split, if there is one; 0: none
    finetune.label_smoothing = 0.1  # share of the target that all classes divide evenly
    finetune.mixup = 0.0  # alpha: clips and labels are blended by a share from Beta(alpha, alpha)
    finetune.cutmix = 0.0  # alpha: a box of another clip, of such a share, is pasted in
    finetune.random_erasing = 0.0  # probability that a box of a clip is replaced by noise

    config.probe = probe = ml_collections.ConfigDict()
    probe.every_epochs = 100.0  # epochs of pre-training between probes of frozen features; 0: none
    probe.train_videos = 1000  # of the training split, that probes are fitted to
    probe.test_videos = 500  # that are scored: of other activities; task probe: of data.evaluate_on

    config.pictures_every_epochs = 100.0  # epochs between pictures in TensorBoard; 0: never

    config.evaluation = evaluation = ml_collections.ConfigDict()
    evaluation.clips = 5  # temporal clips of a video, evenly spaced
    evaluation.crops = 10  # 10: four corners and centre, each flipped | 5 | 1: the centre
    evaluation.batch_size = 16  # videos a step, over all devices; rounded up so that these share it

    config.mesh = mesh = ml_collections.ConfigDict()
    mesh.fsdp = 1  # devices over which parameters and optimiser state are split; 1: each has all

    config.log_every = 50  # steps between two lines of metrics.jsonl
    config.checkpoint_every = 2000  # steps between two checkpoints; the last step always has one
    config.keep_checkpoints = 2  # the newest so many; older ones are deleted
    return config


def set_finetuning(config: ml_collections.ConfigDict) -> None:
    """The end-to-end fine-tuning setting of Table 16 (NTU-60)."""
    config.data.crop = "random_resized"
    config.data.flip = True
    config.data.randaug.operations = 4  # at magnitude 7 with deviation 0.5
    config.data.repeats = 6
    config.model.drop_path = 0.1
    config.epochs = 35
    config.optimizer.min_learning_rate = 1e-6
    config.optimizer.warmup_epochs = 5.0
    config.optimizer.b2 = 0.999
    config.optimizer.weight_decay = 0.1
    config.optimizer.layer_decay = 0.9


def set_long_pretraining(config: ml_collections.ConfigDict) -> None:
    """Table 15, NTU-120 and ETRI: larger data, fewer passes."""
    config.epochs = 1600
    config.optimizer.warmup_epochs = 160.0


def set_long_finetuning(config: ml_collections.ConfigDict) -> None:
    """Table 16, NTU-120 and ETRI."""
    set_finetuning(config)
    config.epochs = 120
    config.optimizer.warmup_epochs = 10.0


def set_epochs(config: ml_collections.ConfigDict, epochs: int) -> None:
    """So many epochs, of which the same share as before is warm-up."""
    config.optimizer.warmup_epochs *= epochs / config.epochs
    config.epochs = epochs


def get_transfer_config(
    variant: str, dataset: str, protocols: tuple[str, ...]
) -> ml_collections.ConfigDict:
    """Fine-tuning on a small data set (Tables 4 to 6), for which the paper gives no setting.

    NTU-120's, in small batches: a thousand videos would make one step of 1,024 a pass.
    """
    task, options = parse_variant(
        variant, tasks=("finetune", "evaluate", "probe"), protocol=protocols
    )
    config = get_config()
    set_long_finetuning(config)
    config.task = task
    config.batch_size = 64
    config.data.dataset = dataset
    config.data.protocol = options["protocol"]
    return config


METHODS = ("mv2mae", "single_view", "videomae")


def set_method(config: ml_collections.ConfigDict, method: str) -> None:
    """Pre-training by the paper's method (as `config` is), or by one it is compared with.

    `single_view`: one view of an activity at a time (Table 9), and two crops and masks of it
    instead of two views: as many clips a step, and as many steps, at the same rate.
    `videomae`: with tube masks of 90 % and no motion weights besides (Tables 1 to 3).
    """
    if method == "mv2mae":
        return
    config.data.num_views = 1
    config.data.repeats = 2
    if method == "videomae":
        config.masking.kind = "tube"
        config.masking.ratio = 0.9
        config.objective.temperature = math.inf
