"""Rows differ in what they are named for, take as many steps as each other, and are compared."""

import itertools
from collections import Counter

import pytest

from configs import reproduction
from mv2mae_jax.check import check
from mv2mae_jax.reproduce.rows import COMPARISONS, OF_NO_STEPS, ROWS, Row
from mv2mae_jax.reproduce.runs import commands, config_hash, hashes

ACTIVITIES = {"xview": 960, "xsub": 480}  # that train, of 40 subjects
VIDEOS = {"xview": 2, "xsub": 3}  # of each of them


def test_names_are_unique_and_comparisons_are_of_rows():
    names = Counter((row.protocol, row.name) for row in ROWS)
    assert set(names.values()) == {1}
    compared = {(x.protocol, name) for x in COMPARISONS for name in (x.row, x.other)}
    assert compared == set(names)
    folders = {}
    for row in ROWS:
        if row.pretraining:
            place = row.protocol, row.pretraining.name
            assert folders.setdefault(place, row.pretraining) == row.pretraining


@pytest.mark.parametrize("scale", reproduction.SCALES)
def test_all_rows_of_a_protocol_take_as_many_steps(scale: str):
    steps = {
        (protocol, task): set() for protocol in ACTIVITIES for task in ("pretrain", "finetune")
    }
    for row in ROWS:
        for task, (variant, overrides) in commands(row, scale).items():
            if task != "probe" and overrides != OF_NO_STEPS:
                config = reproduction.get_config(variant)
                config.update_from_flattened_dict(overrides)
                check(config)
                samples = ACTIVITIES[row.protocol] * config.data.train_fraction
                samples *= VIDEOS[row.protocol] if task == "finetune" else 1
                assert samples % config.batch_size == 0  # nothing is left out of an epoch
                steps[row.protocol, task].add(round(samples / config.batch_size) * config.epochs)
                warmup = config.optimizer.warmup_epochs / config.epochs
                assert warmup == pytest.approx(0.05)
    longer = {"cpu_long": (15360, 14400), "gpu": (10240, 9600)}
    expected = longer.get(scale, (3840, 3600))
    for (_, task), found in steps.items():
        assert found == {expected[task == "finetune"]}


def test_a_hash_tells_what_is_computed_and_measured_not_where():
    config = reproduction.get_config("pretrain,scale=cpu")
    before = config_hash(config)
    config.data.workers, config.data.data_dir = 7, "elsewhere"
    assert config_hash(config) == before
    for name, value in (("evaluation.clips", 9), ("probe.train_videos", 9), ("epochs", 9)):
        config.update_from_flattened_dict({name: value})
        assert config_hash(config) != before
        before = config_hash(config)


def test_every_row_is_another_experiment():
    def key(row: Row, seed: int) -> tuple:
        return tuple(hashes(row, "cpu", seed).items())

    all_of_them = [key(row, seed) for row, seed in itertools.product(ROWS, (0, 1))]
    assert len(set(all_of_them)) == len(all_of_them)
