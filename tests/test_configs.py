"""Every config and variant builds, differs from the default as it says, and takes real steps."""

import dataclasses
import functools
import importlib
import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from benchmarks.rounds import random_batch
from benchmarks.training import Training
from configs import custom
from configs.base import PLANS, get_config, parse_variant
from configs.base import PRETRAINING as PRETRAINING_TASKS
from mv2mae_jax.check import CHOICES, check, fields
from mv2mae_jax.errors import InputError
from mv2mae_jax.model.variants import VARIANTS

CONFIGS = sorted(
    str(path.relative_to("configs").with_suffix(""))
    for path in Path("configs").rglob("*.py")
    if path.stem not in ("__init__", "base")
)
# No experiments of the paper's, whose docstrings have its numbers.
OWN = [name for name in CONFIGS if "\nPaper: " not in Path(f"configs/{name}.py").read_text()]
CLASSES = 5
SINGLE_VIEW = {
    "data.num_views": 1,
    "data.repeats": 2,
}
VIDEOMAE = {
    "masking.kind": "tube",
    "masking.ratio": 0.9,
    "objective.temperature": math.inf,
}
LONG = {"epochs": 1600, "optimizer.warmup_epochs": 160.0}
NTU120 = LONG | {"data.protocol": "ntu120_xsub"}
ON_ETRI = {"data.dataset": "etri", "data.protocol": "xsub"}
ETRI = LONG | ON_ETRI

# Pre-training variants, and all that they change of the paper's setting on NTU-60 (Table 15).
PRETRAINING = {
    "ntu60": {},
    "ntu60:protocol=xview": {"data.protocol": "ntu60_xview"},
    "ntu60:method=single_view": SINGLE_VIEW,
    "ntu60:method=videomae": SINGLE_VIEW | VIDEOMAE,
    "ntu120": NTU120,
    "ntu120:protocol=xset,method=videomae": LONG
    | SINGLE_VIEW
    | VIDEOMAE
    | {"data.protocol": "ntu120_xset"},
    "etri": ETRI,
    "etri:method=videomae": ETRI | SINGLE_VIEW | VIDEOMAE,
    "synadl": {
        "epochs": 7200,
        "optimizer.warmup_epochs": 720.0,
        "data.dataset": "synadl",
        "data.protocol": "1x",
    },
    "synadl:protocol=4x": {
        "epochs": 1440,
        "optimizer.warmup_epochs": 144.0,
        "data.dataset": "synadl",
        "data.protocol": "4x",
    },
    "ablations/temperature": NTU120 | {"epochs": 1200, "optimizer.warmup_epochs": 120.0},
    "ablations/temperature:temperature=15": NTU120
    | {"epochs": 1200, "optimizer.warmup_epochs": 120.0, "objective.temperature": 15.0},
    "ablations/temperature:temperature=inf": NTU120
    | {"epochs": 1200, "optimizer.warmup_epochs": 120.0, "objective.temperature": math.inf},
    "ablations/mask_ratio": NTU120,
    "ablations/mask_ratio:ratio=0.6": NTU120 | {"masking.ratio": 0.6},
    "ablations/mask_ratio:ratio=0.9": NTU120 | {"masking.ratio": 0.9},
    "ablations/encoder_size": NTU120 | {"epochs": 800, "optimizer.warmup_epochs": 80.0},
    "ablations/encoder_size:encoder=tiny": NTU120
    | {"epochs": 800, "optimizer.warmup_epochs": 80.0, "model.variant": "tiny"},
    "ablations/encoder_size:encoder=base": NTU120
    | {"epochs": 800, "optimizer.warmup_epochs": 80.0, "model.variant": "base"},
    "ablations/cross_view": NTU120,
    "ablations/cross_view:protocol=xset,decoder=without": LONG
    | SINGLE_VIEW
    | {"data.protocol": "ntu120_xset"},
    "ablations/source_views": ETRI,
    "ablations/source_views:sources=3": ETRI | {"data.num_views": 4},
    "ablations/view_distance": ETRI | {"data.target_view": "1", "data.source_views": ("2",)},
    "ablations/view_distance:source=4": ETRI
    | {"data.target_view": "1", "data.source_views": ("4",)},
}

TABLE_16 = {
    "task": "finetune",
    "data.crop": "random_resized",
    "data.flip": True,
    "data.repeats": 6,
    "data.randaug.operations": 4,
    "model.drop_path": 0.1,
    "epochs": 35,
    "optimizer.min_learning_rate": 1e-6,
    "optimizer.warmup_epochs": 5.0,
    "optimizer.b2": 0.999,
    "optimizer.weight_decay": 0.1,
    "optimizer.layer_decay": 0.9,
}
LONG_16 = TABLE_16 | {"epochs": 120, "optimizer.warmup_epochs": 10.0}
TRANSFER = LONG_16 | {"batch_size": 64}
FINETUNING = {
    "ntu60:finetune": TABLE_16,
    "ntu60:finetune,protocol=xview": TABLE_16 | {"data.protocol": "ntu60_xview"},
    "ntu120:finetune": LONG_16 | {"data.protocol": "ntu120_xsub"},
    "etri:finetune": LONG_16 | ON_ETRI,
    "nucla": TRANSFER | {"data.dataset": "nucla", "data.protocol": "xview"},
    "pku_mmd2": TRANSFER | {"data.dataset": "pku_mmd2", "data.protocol": "xsub"},
    "rocog_v2": TRANSFER | {"data.dataset": "rocog_v2", "data.protocol": "ground"},
    "ablations/encoder_size:finetune,encoder=tiny": LONG_16
    | {"data.protocol": "ntu120_xsub", "model.variant": "tiny"},
}

# What a reader may choose otherwise, or add, by a field: several at a time, as each is a program.
PRETRAINING_CHOICES = (
    {
        "data.repeats": 2,
        "ema_decay": 0.9,
        "masking.views": "shared",
        "model.projector": "separate",
        "objective.motion_space": "bytes",
    },
    {
        "masking.kind": "tube",
        "model.positions": "separable",
        "objective.motion": "motion_history",
        "objective.motion_space": "unit",
        "objective.weight_scale": "literal",
        "optimizer.clip_norm": 0.1,
    },
    {
        "accumulation": 2,
        "model.remat": True,
        "objective.softmax_over": "masked",
        "objective.targets": "pixels",
    },
    {"objective.cross_view": 0.0},
)
FINETUNING_CHOICES = (
    {"finetune.trainable_blocks": 1},
    {
        "ema_decay": 0.9,
        "finetune.cutmix": 1.0,
        "finetune.mixup": 0.8,
        "finetune.random_erasing": 0.25,
    },
)


@pytest.fixture(scope="module", autouse=True)
def shallow() -> Iterator[None]:
    """Of the smallest encoder half as many blocks: to compile steps is what takes time here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(VARIANTS, "mini", dataclasses.replace(VARIANTS["mini"], depth=2))
        yield


SEEN_BY_STEPS = ("num_frames", "image_size", "num_views", "repeats", "mean", "std")


def load(name: str) -> ConfigDict:
    """`ntu60:finetune,protocol=xview` as on the command line; one's own data have a name."""
    module, _, variant = name.partition(":")
    if module == "custom":
        variant = f"{variant or 'pretrain'},dataset=mine"
    make = importlib.import_module(f"configs.{module.replace('/', '.')}").get_config
    return make(variant) if variant else make()


def reduce(config: ConfigDict) -> None:
    """The same structure, as small as the tubelets allow, at a rate that shows in one step."""
    most = config.masking.ratio > 0.8  # of few tokens nine tenths leave one, or none
    config.model.variant = "mini"
    config.data.num_frames = 2 * config.model.patch_size[0]
    config.data.image_size = (4 if most else 2) * config.model.patch_size[1]
    config.batch_size = 2
    config.optimizer.warmup_epochs = 0.0
    config.optimizer.weight_decay = 0.0  # which moves what has no gradient
    config.optimizer.base_learning_rate = 0.1  # times 2 / 256: enough to move every float32
    config.model.dtype = "float32"


def take_steps(config: ConfigDict, classes: int = 0) -> set[str]:
    """Trains for two steps; names of the parameters that did not change."""
    reduce(config)
    check(config)
    # What a step never sees: variants that differ in these alone are one program, and run once.
    config.epochs = 1
    config.data.update(get_config().data, **{name: config.data[name] for name in SEEN_BY_STEPS})
    return trained(config.to_json(), classes)


@functools.cache
def trained(config_json: str, classes: int) -> set[str]:
    config = ConfigDict(json.loads(config_json))
    training = Training(config, classes)
    before = jax.device_get(training.state.parameters)
    for metrics in training.on(random_batch(config, n, classes) for n in range(2)):
        assert all(np.isfinite(value).all() for value in metrics.values())
    after = jax.device_get(training.state.parameters)
    return {name for name, value in after.items() if np.array_equal(value, before[name])}


def test_every_config_is_among_the_variants():
    named = {name.partition(":")[0] for name in (*PRETRAINING, *FINETUNING)}
    assert {*named, *OWN} == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_in_all_its_variants(name: str):
    """All tasks with all combinations of the options' values, as the parser names them.

    A plan has the settings of what it plans.
    """
    check(load(name))
    with pytest.raises(InputError) as caught:
        load(f"{name}:unknown")
    tasks, _, options = str(caught.value).partition("it is one of ")[2].partition(", followed by ")
    choices = re.findall(r"(\w+)=([\w.|]+)", options)
    values = [[f"{key}={value}" for value in given.split("|")] for key, given in choices]
    for variant in itertools.product(tasks.split(", "), *values):
        if "..." in "".join(variant):  # an option that takes any value
            continue
        task, *chosen = variant
        if task not in PRETRAINING_TASKS:
            chosen = [x for x in chosen if not x.startswith("method=")]
            if len(chosen) < len(variant) - 1:
                with pytest.raises(InputError, match=f"is a way of pre-training, not of {task}"):
                    load(f"{name}:{','.join(variant)}")
        variant = (task, *chosen)
        config = load(f"{name}:{','.join(variant)}")
        assert config.task == task
        check(config)
        planned = load(f"{name}:{','.join([PLANS.get(task, task), *chosen])}")
        planned.task = task
        assert config == planned


@pytest.mark.parametrize("name", [*PRETRAINING, *FINETUNING])
def test_a_variant_changes_what_it_says(name: str):
    default = dict(fields(get_config())) | {"data.protocol": "ntu60_xsub"}
    changed = {k: v for k, v in fields(load(name)) if v != default[k]}
    assert changed == (PRETRAINING | FINETUNING)[name]


@pytest.mark.parametrize("name", [*PRETRAINING, *OWN, "reproduction:method=random_mask"])
def test_pretraining_takes_steps(name: str):
    assert take_steps(load(name)) == set()


@pytest.mark.parametrize("name", [*FINETUNING, "custom:finetune", "mannequin:finetune"])
def test_finetuning_takes_steps(name: str):
    config = load(name)
    config.data.repeats = min(config.data.repeats, 2)
    assert take_steps(config, CLASSES) == set()


def test_rows_of_the_reproduction_differ_in_one_thing_each():
    rows = [
        dict(fields(load(f"reproduction:protocol=xsub,method={method}")))
        for method in ("videomae", "random_mask", "single_view", "mv2mae")
    ]
    changes = [
        {key: (before[key], after[key]) for key in before if before[key] != after[key]}
        for before, after in itertools.pairwise(rows)
    ]
    assert changes == [
        {"masking.kind": ("tube", "random"), "masking.ratio": (0.9, 0.7)},
        {"objective.temperature": (math.inf, 8.0)},
        {"data.num_views": (1, 2), "data.repeats": (2, 1)},
    ]


def values(choice: dict[str, object]) -> str:
    return "-".join(f"{name}={value}" for name, value in choice.items())


@pytest.mark.parametrize(
    "field", [name for name in CHOICES if name.startswith(("masking.", "objective."))]
)
def test_every_choice_of_the_method_takes_steps(field: str):
    taken = {choice[field] for choice in PRETRAINING_CHOICES if field in choice}
    assert taken | {dict(fields(get_config()))[field]} == set(CHOICES[field])


@pytest.mark.parametrize("choice", PRETRAINING_CHOICES, ids=values)
def test_choices_of_pretraining_take_steps(choice: dict[str, object]):
    config = load("ntu60")
    config.update_from_flattened_dict(choice)
    assert take_steps(config) == set()


@pytest.mark.parametrize("choice", FINETUNING_CHOICES, ids=values)
def test_choices_of_finetuning_take_steps(choice: dict[str, object]):
    config = load("ntu60:finetune")
    config.data.repeats = 1
    config.update_from_flattened_dict(choice)
    unchanged = take_steps(config, CLASSES)
    if "finetune.trainable_blocks" in choice:
        assert {name.split(".")[2] for name in unchanged if "blocks" in name} == {"0"}
        assert all(name.startswith("encoder.") for name in unchanged)
    else:
        assert unchanged == set()


@pytest.mark.parametrize("given", [(), ("finetune,protocol=xview",)])
def test_one_s_own_data_are_named(given: tuple[str, ...]):
    with pytest.raises(InputError, match=r"name it: (pretrain|finetune),dataset=NAME$"):
        custom.get_config(*given)
    assert load("custom:evaluate").data.dataset == "mine"


def test_variants_have_options():
    known = {"protocol": ("xsub", "xview")}
    assert parse_variant("", **known) == ("pretrain", {"protocol": "xsub"})
    assert parse_variant("finetune,protocol=xview", **known) == ("finetune", {"protocol": "xview"})
    assert parse_variant("protocol=xview", **known)[0] == "pretrain"
    assert parse_variant("", tasks=("finetune", "probe"), view="1") == ("finetune", {"view": "1"})
    assert parse_variant("probe,view=9", view="1") == ("probe", {"view": "9"})
    for wrong in ("finetune,epochs=3", "finetune,protocol=xset", "train"):
        with pytest.raises(InputError, match=rf"no variant '{wrong}'.*protocol=xsub\|xview"):
            parse_variant(wrong, **known)
    with pytest.raises(InputError, match="'protocol=xsub,protocol=xview' has an option twice"):
        parse_variant("protocol=xsub,protocol=xview", **known)
    with pytest.raises(InputError, match=r"one of probe$"):
        parse_variant("pretrain", tasks=("probe",))


@pytest.mark.parametrize(
    ("variant", "near"),
    [
        ("finetun", "finetune"),
        ("plan_fine_tune", "plan_finetune"),
        ("finetune,protocol=xveiw", "protocol=xview"),
        ("protcol=xsub", "protocol=xsub"),
        ("protocol=xsub,metod=videomae", "method=videomae"),
        ("pretrian,method=videomae", "pretrain"),
    ],
)
def test_a_mistyped_variant_suggests_the_nearest(variant: str, near: str):
    choices = {"protocol": ("xsub", "xview"), "method": ("mv2mae", "videomae")}
    with pytest.raises(InputError, match=rf"\|videomae; did you mean {near}\?$"):
        parse_variant(variant, **choices)
