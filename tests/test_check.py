"""Impossible configurations are named before anything starts."""

import json
import math
import re

import pytest

from configs.base import get_config
from docs.hooks.fields import Field, fields
from mv2mae_jax.check import CHOICES, check, stored_config, to_store
from mv2mae_jax.data.augment import CROPS
from mv2mae_jax.errors import InputError
from mv2mae_jax.objective import MOTION_FEATURES


def test_the_defaults_are_possible():
    check(get_config())


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("data.num_frames", 15, "multiple of the tubelet's 2"),
        ("data.image_size", 120, "multiple of the tubelet's 16"),
        ("model.patch_size", (2, 16, 0), "tubelet's 0"),
        ("model.patch_size", (16, 16), "three values"),
        ("masking.ratio", 0.0, "masks 0 of 512"),
        ("masking.ratio", 1.0, "[0, 1)"),
        ("masking.ratio", 1.5, "[0, 1)"),
        ("masking.ratio", 0.001, "masks 0 of 512"),
        ("masking.kind", "unknown", "random, tube"),
        ("objective.temperature", 0.0, "positive"),
        ("accumulation", 3, "equal parts"),
        ("data.workers", -2, "0 or more, or -1"),
        ("data.stride", 0, "at least 1"),
        ("model.variant", "huge", "tiny, small, base, large"),
        ("evaluation.crops", 3, "1, 5, 10"),
        ("model.drop_path", 0.1, "it is 0 in pre-training"),
        ("seed", -1, "0 or more"),
        ("data.crop_scales", (), "one or more"),
        ("data.crop_scales", (2.0,), "(0, 1]"),
        ("finetune.trainable_blocks", 13, "the encoder has 12 blocks; it is 0 to 12, or -1"),
        ("finetune.trainable_blocks", -2, "0 to 12"),
        ("finetune.random_erasing", 1.5, "[0, 1]"),
        ("objective.temperature", math.nan, "finite"),
        ("objective.cross_view", math.nan, "finite"),
        ("optimizer.base_learning_rate", -1.0, "0 or more"),
        ("optimizer.base_learning_rate", 1e25, "at most 1e+24"),
        ("objective.cross_view", 1e300, "at most 3.4e+38"),
        ("probe.every_epochs", math.inf, "finite"),
        ("task", "train", "pretrain, finetune, evaluate, probe"),
        ("data.train_fraction", 0.0, "(0, 1]"),
        ("data.crop_area", (0.5, 1.5), "at most 1"),
        ("data.crop_aspect", (2.0, 1.0), "a lower and an upper bound"),
        ("finetune.init_from", "runs/x", "its start is config.pretrain.init_from"),
        ("objective.cross_view", -1.0, "0 or more"),
        ("data.crop_scales", None, "no value for it"),
        ("data.mean", (0.5, "a", 0.5), "no value for it"),
        ("data.std", (0.5, 0.0, 0.5), "(0, 1]"),
        ("data.image_size", 2**20, "at most 65,536"),
        ("ema_decay", 1.0, "[0, 1)"),
        ("data.dataset", "../ntu", "folder of data_dir"),
        ("data.target_view", "\x1b[2J", "not printable"),
        ("optimizer.layer_decay", 2.0, "(0, 1]"),
        ("seed", 2**32, "at most 4,294,967,295"),
        ("objective.motion", "unknown", "frame_difference, motion_history"),
    ],
)
def test_impossible_values_are_named(field: str, value: object, says: str):
    config = get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError) as caught:
        check(config)
    assert says in str(caught.value)
    assert field in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"task": "finetune", "pretrain.init_from": "x"}, "start is config.finetune.init_from"),
        ({"task": "probe", "pretrain.init_from": "x"}, "config.pretrain.init_from=x is not for"),
        ({"data.num_frames": 1, "model.patch_size": (1, 16, 16)}, "num_frames=1; .* 2 or more"),
        ({"model.patch_size": (1, 1, 1), "data.image_size": 32}, "one pixel cannot be normalized"),
        ({"data.target_view": "2", "data.source_views": (1, 2)}, "name other views"),
    ],
)
def test_values_that_are_impossible_together_are_named(values: dict[str, object], says: str):
    config = get_config()
    with config.ignore_type():
        config.update_from_flattened_dict(values)
    with pytest.raises(InputError, match=says):
        check(config)


def test_single_frames_can_be_fine_tuned():
    config = get_config()
    config.task, config.data.num_frames, config.model.patch_size = "finetune", 1, (1, 16, 16)
    check(config)


def test_no_weighting_is_possible():
    config = get_config()
    config.objective.temperature = math.inf
    check(config)
    text = json.dumps(to_store(config), allow_nan=False)
    assert stored_config(json.loads(text)) == config
    unofficial = json.loads(config.to_json())  # as Python's own JSON has it
    assert stored_config(unofficial) == config


@pytest.mark.parametrize("field", [x for x in fields() if x.name in CHOICES], ids=lambda x: x.name)
def test_the_comment_of_a_field_names_its_choices(field: Field):
    words = set(re.findall(r"\w+", field.meaning))
    assert words >= {str(choice) for choice in CHOICES[field.name]}


def test_choices_are_the_tables_that_are_not_asked():
    assert CHOICES["objective.motion"] == tuple(MOTION_FEATURES)
    assert CHOICES["data.crop"] == tuple(CROPS)


def test_a_mistyped_choice_suggests_the_nearest():
    config = get_config()
    config.model.variant = "smal"
    with pytest.raises(InputError, match=r"large; did you mean small\?$"):
        check(config)


def test_a_stored_field_that_this_version_does_not_know_is_refused():
    stored = json.loads(get_config().to_json())
    stored["model"]["rope"] = True
    with pytest.raises(InputError, match=r"no config of this package: .*rope"):
        stored_config(stored)


def test_a_classifier_needs_nothing_to_mask():
    config = get_config()
    config.data.num_frames, config.data.image_size = 2, 16  # one tubelet
    with pytest.raises(InputError, match="masks 0 of 1 tubelets"):
        check(config)
    config.task = "finetune"
    check(config)


# Written out once more: a name that is missing in a table of the package is missed here.
COUNTS = (
    *("accumulation", "batch_size", "checkpoint_every", "data.image_size", "data.num_frames"),
    *("data.num_views", "data.repeats", "data.stride", "data.threads", "epochs"),
    *("evaluation.batch_size", "evaluation.clips", "keep_checkpoints", "log_every", "mesh.fsdp"),
    *("optimizer.reference_batch", "probe.test_videos", "probe.train_videos"),
)
AMOUNTS = (
    *("data.bad_records", "data.randaug.magnitude", "data.randaug.operations", "data.randaug.std"),
    *("finetune.cutmix", "finetune.mixup", "finetune.validate_every_epochs"),
    *("objective.cross_view", "objective.motion_threshold", "optimizer.base_learning_rate"),
    *("optimizer.clip_norm", "optimizer.min_learning_rate", "optimizer.warmup_epochs"),
    *("optimizer.weight_decay", "pictures_every_epochs", "probe.every_epochs", "seed"),
)
SHARES = (
    *("ema_decay", "finetune.label_smoothing", "masking.ratio", "model.drop_path"),
    *("optimizer.b1", "optimizer.b2"),
)
MOST = {
    "data.num_views": 100,
    "data.randaug.operations": 100,
    "data.repeats": 1000,
    "data.threads": 1000,
    "data.workers": 1000,
    "epochs": 10**6,
    "evaluation.batch_size": 10**4,
    "evaluation.clips": 1000,
    "optimizer.base_learning_rate": 1e24,
    "optimizer.warmup_epochs": 1e4,
    "seed": 2**32 - 1,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, 0) for field in COUNTS),
        *((field, -1) for field in AMOUNTS),
        *((field, value) for field in SHARES for value in (-0.1, 1.0)),
    ],
)
def test_counts_amounts_and_shares_have_bounds(field: str, value: float):
    config = get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=re.escape(f"config.{field}=")):
        check(config)


@pytest.mark.parametrize(("field", "most"), MOST.items())
def test_what_takes_all_of_a_machine_is_refused(field: str, most: float):
    config = get_config()
    config.update_from_flattened_dict({field: most})
    check(config)
    config.update_from_flattened_dict({field: type(most)(most * 1.01)})
    with pytest.raises(InputError, match=re.escape(f"config.{field}=") + ".*at most"):
        check(config)
