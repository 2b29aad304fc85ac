"""Workers are chosen from the cores that may be used."""

import contextlib
import os
import signal
from pathlib import Path

import grain
import numpy as np
import pytest

from configs.base import get_config
from mv2mae_jax import processes
from mv2mae_jax.data import workers
from mv2mae_jax.errors import InputError


@pytest.mark.parametrize(
    ("cores", "limit", "usable"),
    [
        (16, "max 100000", 16),
        (16, "600000 100000", 6),
        (2, "600000 100000", 2),
        (8, "50000 100000", 1),
    ],
)
def test_cores_are_those_of_affinity_and_group(monkeypatch, cores, limit, usable):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(Path, "read_text", lambda path: limit)
    assert processes.usable_cores() == usable


@pytest.mark.parametrize(("asked", "chosen"), [(-1, 2), (0, 0), (3, 3)])
def test_a_worker_for_as_many_cores_as_it_has_threads(monkeypatch, asked, chosen):
    monkeypatch.setattr(workers, "usable_cores", lambda: 11)
    data = get_config().data
    data.workers = asked
    assert workers.num_workers(data) == chosen


def test_deaths_count_within_a_batch_alone():
    data = get_config().data
    data.workers = 0
    numbers = grain.MapDataset.range(99).map(lambda number: {"number": np.array(number)})
    with contextlib.closing(workers.Samples(data, numbers, 2)) as samples:
        for _ in range(workers.MOST_DEATHS):
            samples._count_death(signal.SIGKILL)
            assert [next(samples), next(samples)]
        for _ in range(workers.MOST_DEATHS - 1):
            samples._count_death(signal.SIGKILL)
        with pytest.raises(InputError, match="3 times a loader worker was killed"):
            samples._count_death(signal.SIGKILL)
