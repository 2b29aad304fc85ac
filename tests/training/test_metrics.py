"""What is shown while a run trains, by a clock that the test sets."""

from contextlib import closing
from threading import Event

import jax.numpy as jnp

from mv2mae_jax.training import metrics
from mv2mae_jax.training.metrics import Progress


def test_rate_and_time_left_are_those_of_training_alone(monkeypatch, capfd):
    """Not of a probe or of pictures between two reports."""
    now = 1000.0
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now)
    with closing(Progress("pretrain", 10, 110, samples_per_step=4)) as progress:
        progress.step({"loss": jnp.zeros(())})
        now += 8
        first = progress.report(20, 0.25, "pairs")
        now += 500
        progress.resume()
        now += 2
        second = progress.report(30, 0.125, "pairs")
    assert [x["pairs_per_second"] for x in (first, second)] == [5.0, 20.0]
    assert capfd.readouterr().out.splitlines() == [
        "pretrain 20/110 · loss 0.2500 · 5.0 pairs/s · waiting for data 0% · 01:12 left",
        "pretrain 30/110 · loss 0.1250 · 20.0 pairs/s · waiting for data 0% · 00:16 left",
    ]


class Running:
    """The metrics of a step that runs until it is said to be done."""

    def __init__(self):
        self._done = Event()

    def block_until_ready(self) -> None:
        self._done.wait(10)

    def end(self, progress: Progress) -> None:
        """The step is done, and `progress` has seen it."""
        self._done.set()
        progress._idle_since.result()


def test_waiting_for_data_is_the_time_in_which_devices_have_nothing_to_do(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now)
    with closing(Progress("pretrain", 0, 100, samples_per_step=4)) as progress:
        now += 1
        progress.waited(1000.0)  # nothing runs before the first batch is there: 1
        progress.step({"loss": (first := Running())})
        now += 2
        progress.waited(1001.0)  # a step runs: 0
        now += 3
        first.end(progress)
        now += 4
        progress.waited(1004.0)  # from its end on: 4
        progress.step({"loss": (second := Running())})
        now += 2
        second.end(progress)
        now += 3
        asked = now
        now += 1
        progress.waited(asked)  # the loop did something else before it asked: 1
        now += 4
        assert progress.report(2, 0.25, "pairs")["waiting_for_data"] == 6 / 20
        now += 1
        assert progress.report(3, 0.25, "pairs")["waiting_for_data"] == 0
