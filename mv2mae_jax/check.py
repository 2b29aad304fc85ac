"""Impossible configurations, found before anything heavy starts."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from configs.base import FROM_CORES, PLANS, PRETRAINING, TASKS, get_config
from mv2mae_jax.errors import InputError, did_you_mean, is_name
from mv2mae_jax.model.grid import MASKS, num_masked, tubelet_grid
from mv2mae_jax.model.positions import POSITIONS
from mv2mae_jax.model.variants import VARIANTS

# A table of them cannot be asked where it would bring jax or OpenCV along: PyTorch's side reads
# configs too. tests/test_check.py compares the names.
CHOICES = {
    "data.crop": ("multi_scale", "random_resized"),
    "data.crops": ("independent", "shared"),
    "data.evaluate_on": ("test", "validation"),
    "evaluation.crops": (1, 5, 10),
    "masking.kind": tuple(MASKS),
    "masking.views": ("independent", "shared"),
    "model.dtype": ("float32", "bfloat16"),
    "model.positions": tuple(POSITIONS),
    "model.projector": ("shared", "separate"),
    "model.variant": tuple(VARIANTS),
    "objective.motion": ("frame_difference", "motion_history"),
    "objective.motion_space": ("normalized", "unit", "bytes"),
    "objective.softmax_over": ("all", "masked"),
    "objective.targets": ("normalized", "pixels"),
    "objective.weight_scale": ("mean_one", "literal"),
    "task": (*TASKS, *PLANS),
}
# What tuples are made of: the command line takes any literal of Python's.
ELEMENTS = {
    **dict.fromkeys(("data.crop_area", "data.crop_aspect", "data.crop_scales"), (float, int)),
    **dict.fromkeys(("data.mean", "data.std"), (float, int)),
    **dict.fromkeys(("data.source_views", "data.test_views"), (str, int)),
    **dict.fromkeys(("data.test_subjects", "data.validation_subjects"), (str, int)),
    "model.patch_size": (int,),
}
AT_LEAST_ONE = (
    "accumulation",
    "batch_size",
    "checkpoint_every",
    "data.image_size",
    "data.num_frames",
    "data.num_views",
    "data.repeats",
    "data.stride",
    "data.threads",
    "epochs",
    "evaluation.batch_size",
    "evaluation.clips",
    "keep_checkpoints",
    "log_every",
    "mesh.fsdp",
    "optimizer.reference_batch",
    "probe.test_videos",
    "probe.train_videos",
)
AT_LEAST_ZERO = (
    "data.bad_records",
    "data.randaug.magnitude",
    "data.randaug.operations",
    "data.randaug.std",
    "finetune.cutmix",
    "finetune.mixup",
    "finetune.validate_every_epochs",
    "objective.cross_view",
    "objective.motion_threshold",
    "optimizer.clip_norm",
    "optimizer.base_learning_rate",
    "optimizer.min_learning_rate",
    "optimizer.warmup_epochs",
    "optimizer.weight_decay",
    "pictures_every_epochs",
    "probe.every_epochs",
    "seed",
)
LARGEST = 2**31 - 1  # whole number, as on the devices
LARGEST_FLOAT = 3.4e38  # as good as float32's
AT_MOST = {  # of those that would take all memory, processes or time before anything is said
    "data.randaug.operations": 100,
    "data.num_views": 100,
    "data.repeats": 1000,
    "data.threads": 1000,
    "data.workers": 1000,
    "epochs": 1_000_000,
    "evaluation.batch_size": 10_000,
    "evaluation.clips": 1000,
    "optimizer.base_learning_rate": 1e24,  # with any batch a float32
    "optimizer.warmup_epochs": 10_000,
    "seed": 2**32 - 1,
}
MOST_TUBELETS = MOST_VALUES = 2**16  # of a clip; of a tubelet
SHARES = (
    "ema_decay",
    "finetune.label_smoothing",
    "masking.ratio",
    "model.drop_path",
    "optimizer.b1",
    "optimizer.b2",
)


def check(config: ConfigDict) -> None:
    """Looks at a config by itself; what depends on the data is found when they are opened.

    Raises:
      InputError: names the field, its value, and what it may be.
    """
    for field, value in fields(config):
        _check_value(field, value)
    for field, choices in CHOICES.items():
        if _get(config, field) not in choices:
            value, names = str(_get(config, field)), [str(choice) for choice in choices]
            raise InputError(
                f"config.{field}={value}; it is one of {', '.join(names)}"
                + did_you_mean(value, names)
            )
    for field in AT_LEAST_ONE:
        if _get(config, field) < 1:
            raise InputError(f"config.{field}={_get(config, field)}; it is at least 1")
    for field in ("data.mean", "data.std", "model.patch_size"):
        if len(_get(config, field)) != 3:
            raise InputError(f"config.{field}={_get(config, field)}; it has three values")
    for field in AT_LEAST_ZERO:
        if _get(config, field) < 0:
            raise InputError(f"config.{field}={_get(config, field)}; it is 0 or more")
    if config.data.workers < FROM_CORES:
        raise InputError(
            f"config.data.workers={config.data.workers}; it is 0 or more, or {FROM_CORES} to "
            "choose from the cores"
        )
    for field in SHARES:
        if not 0 <= _get(config, field) < 1:
            raise InputError(f"config.{field}={_get(config, field)}; it is in [0, 1)")
    check_tubelets(config)
    _check_task(config)
    for field, least, most in (("data.crop_area", 1e-6, 1.0), ("data.crop_aspect", 1e-3, 1e3)):
        bounds = _get(config, field)
        if len(bounds) != 2 or not least <= bounds[0] <= bounds[1] <= most:
            raise InputError(
                f"config.{field}={tuple(bounds)}; it is a lower and an upper bound, at least "
                f"{least:g} and at most {most:g}"
            )
    scales = config.data.crop_scales
    if not scales or not all(0 < scale <= 1 for scale in scales):
        raise InputError(
            f"config.data.crop_scales={tuple(scales)}; they are in (0, 1], one or more"
        )
    if not all(0 <= mean <= 1 for mean in config.data.mean):
        raise InputError(f"config.data.mean={tuple(config.data.mean)}; they are in [0, 1]")
    if not all(0 < std <= 1 for std in config.data.std):
        raise InputError(f"config.data.std={tuple(config.data.std)}; they are in (0, 1]")
    if not re.fullmatch(r"\w*", config.data.dataset):
        raise InputError(f"config.data.dataset={config.data.dataset}; it is a folder of data_dir")
    if not 0 < config.optimizer.layer_decay <= 1:
        raise InputError(
            f"config.optimizer.layer_decay={config.optimizer.layer_decay}; it is in (0, 1]"
        )
    if not 0 <= config.finetune.random_erasing <= 1:
        raise InputError(
            f"config.finetune.random_erasing={config.finetune.random_erasing}; it is in [0, 1]"
        )
    depth = VARIANTS[config.model.variant].depth
    if not -1 <= config.finetune.trainable_blocks <= depth:
        raise InputError(
            f"config.finetune.trainable_blocks={config.finetune.trainable_blocks}, but the encoder "
            f"has {depth} blocks; it is 0 to {depth}, or -1 for the whole encoder"
        )
    if not 0 < config.data.train_fraction <= 1:
        raise InputError(
            f"config.data.train_fraction={config.data.train_fraction}; it is in (0, 1]"
        )
    if config.data.target_view in map(str, config.data.source_views):
        raise InputError(
            f"config.data.source_views={tuple(config.data.source_views)} has the target, "
            f"config.data.target_view={config.data.target_view}; name other views"
        )
    if config.objective.temperature <= 0:
        raise InputError(
            f"config.objective.temperature={config.objective.temperature}; it is positive (inf for "
            "no weighting)"
        )
    if config.batch_size * config.data.repeats % config.accumulation:
        raise InputError(
            f"config.batch_size={config.batch_size} x config.data.repeats={config.data.repeats} "
            f"cannot be split into config.accumulation={config.accumulation} equal parts"
        )


def to_store(config: ConfigDict) -> dict[str, Any]:
    """The config for JSON, which has no infinity: it is the text "Infinity" there."""
    return json.loads(config.to_json(), parse_constant=str)


def stored_config(stored: Any) -> ConfigDict:
    """A config that `to_store` made ready for JSON; what it does not have is as in configs/base.py.

    Raises:
      InputError: it is none of this package's, or not possible.
    """
    if not isinstance(stored, Mapping) or "task" not in stored:  # another program's config.json
        raise InputError("no config of this package: it names no task")
    config = get_config().lock()
    try:
        config.update(ConfigDict({**stored, "objective": _unstored(stored.get("objective", {}))}))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"no config of this package: {error}") from error
    check(config)
    return config.unlock()


def _unstored(objective: Any) -> Any:
    """With the temperature as a number, whatever else it may be."""
    infinite = isinstance(objective, Mapping) and objective.get("temperature") == "Infinity"
    return {**objective, "temperature": math.inf} if infinite else objective


def fields(config: ConfigDict, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every field with its full name."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from fields(value, f"{above}{name}.")
        else:
            yield above + name, value


def _check_value(field: str, value: Any) -> None:
    """It is something that can be printed and computed with."""
    kinds = ELEMENTS.get(field)
    for x in (value,) if kinds is None or value is None else value:
        if x is None or (kinds and type(x) not in kinds):
            raise InputError(f"config.{field}={value}; {x!r} is no value for it")
        if isinstance(x, str) and not is_name(x):
            raise InputError(f"config.{field}={value!r}; it has a character that is not printable")
        unweighted = field == "objective.temperature" and x == math.inf
        if isinstance(x, float) and not math.isfinite(x) and not unweighted:
            raise InputError(f"config.{field}={value}; it is a finite number")
        most = AT_MOST.get(field, LARGEST if isinstance(x, int) else LARGEST_FLOAT)
        if isinstance(x, int | float) and x > most and not unweighted:
            digits = "," if isinstance(most, int) else "g"
            raise InputError(f"config.{field}={value}; it is at most {most:{digits}}")


def check_tubelets(config: ConfigDict) -> None:
    """A clip can be cut into tubelets.

    Raises:
      InputError: names the field that does not fit.
    """
    data, patch = config.data, config.model.patch_size
    sides = (
        ("data.num_frames", data.num_frames, patch[0]),
        ("data.image_size", data.image_size, patch[1]),
        ("data.image_size", data.image_size, patch[2]),
    )
    for field, size, part in sides:
        if part < 1 or size % part:
            raise InputError(
                f"config.{field}={size} is not a multiple of the tubelet's {part} "
                f"(config.model.patch_size={tuple(patch)})"
            )
    tubelets = math.prod(tubelet_grid(data.num_frames, data.image_size, patch))
    values = 3 * math.prod(patch)
    if tubelets > MOST_TUBELETS or values > MOST_VALUES:
        raise InputError(
            f"config.data.num_frames={data.num_frames} of config.data.image_size="
            f"{data.image_size} are {tubelets:,} tubelets of {values:,} values "
            f"(config.model.patch_size={tuple(patch)}); there are at most {MOST_TUBELETS:,} of "
            f"{MOST_VALUES:,}"
        )


def _check_masked(config: ConfigDict) -> None:
    data = config.data
    grid = tubelet_grid(data.num_frames, data.image_size, config.model.patch_size)
    tokens = math.prod(grid)
    masked = num_masked(config.masking.kind, config.masking.ratio, grid)
    if not 0 < masked < tokens:
        raise InputError(
            f"config.masking.ratio={config.masking.ratio} masks {masked} of {tokens} tubelets; at "
            "least one must be masked and one visible"
        )


def _check_task(config: ConfigDict) -> None:
    """Its start is not that of the other task, and what it computes is a number."""
    task, pretrains = config.task, config.task in PRETRAINING
    start, unused = ("pretrain", "finetune") if pretrains else ("finetune", "pretrain")
    if config[unused].init_from:
        raise InputError(
            f"config.{unused}.init_from={config[unused].init_from} is not for {task}; its start is "
            f"config.{start}.init_from"
        )
    if not pretrains:
        return
    _check_masked(config)
    if config.model.drop_path:
        raise InputError(
            f"config.model.drop_path={config.model.drop_path}; it is 0 in pre-training, of which "
            "the method drops no blocks"
        )
    if config.data.num_frames < 2:
        raise InputError(
            f"config.data.num_frames={config.data.num_frames}; pre-training weighs what moves, for "
            "which a clip has 2 or more"
        )
    if config.objective.targets == "normalized" and math.prod(config.model.patch_size) < 2:
        raise InputError(
            f"config.model.patch_size={tuple(config.model.patch_size)}; one pixel cannot be "
            "normalized: set config.objective.targets=pixels, or larger tubelets"
        )


def _get(config: ConfigDict, field: str) -> Any:
    value: Any = config
    for name in field.split("."):
        value = value[name]
    return value
