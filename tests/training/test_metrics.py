"""What is shown while a run trains, by a clock that the test sets."""

from contextlib import closing

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
