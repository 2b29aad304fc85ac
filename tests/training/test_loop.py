"""What the loop does when: lines, probes, pictures, checkpoints; the same where it is continued."""

import io
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.base import get_config
from mv2mae_jax.data.loader import Batches
from mv2mae_jax.data.workers import Samples
from mv2mae_jax.errors import InputError
from mv2mae_jax.training import loop
from mv2mae_jax.training.checkpoints import Checkpoints, load_parameters
from mv2mae_jax.training.loop import train
from mv2mae_jax.training.metrics import Progress
from mv2mae_jax.training.optimizer import learning_rate
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.training.sharding import make_mesh
from mv2mae_jax.training.step import Learner


class Model(nnx.Module):
    """A linear map, named as the optimiser's rules expect."""

    def __init__(self, rngs: nnx.Rngs):
        self.encoder = nnx.Dict(blocks=nnx.List([nnx.Linear(2, 1, rngs=rngs)]))

    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        return self.encoder.blocks[0](x)


def loss(model, batch, keys):
    return (model(batch["x"]) ** 2).mean(), {}


def endless(config, start_step, process_index, process_count) -> Batches:
    def batch(step: int) -> dict:
        x = np.random.default_rng(step).standard_normal((4, 2)).astype(np.float32)
        return {"x": x, "index": np.arange(4, dtype=np.int32)}

    steps = grain.MapDataset.range(start_step, 1000).map(batch)
    return Batches(Samples(config.data, steps, batch_size=1), iter)


def through(change: Callable[[Iterator], Iterator]) -> Callable[..., Batches]:
    """The endless batches, changed on their way."""
    return lambda *arguments: Batches(endless(*arguments)._samples, change)


class Probe:
    """Notes the parameters; once, a signal comes while it runs, as it may in a long one."""

    def __init__(self, stop_at_call: int | None = None, by: signal.Signals = signal.SIGTERM):
        self.seen: list[float] = []
        self.stop_at_call, self.by = stop_at_call, by

    def __call__(self, parameters) -> dict[str, float]:
        self.seen.append(float(parameters["encoder.blocks.0.kernel"].sum()))
        if len(self.seen) == self.stop_at_call:
            os.kill(os.getpid(), self.by)
        return {"probe": self.seen[-1]}


def configured(epochs: int = 11, log_every: int = 4, **fields: Any) -> ConfigDict:
    config = get_config()
    config.batch_size, config.epochs, config.log_every = 4, epochs, log_every
    config.optimizer.warmup_epochs, config.optimizer.base_learning_rate = 0.0, 0.1
    config.update(fields)
    return config


def run(
    workdir: Path, probe: Probe | None, config: ConfigDict | None = None, **options: Any
) -> Parameters:
    workdir.mkdir(exist_ok=True)
    usual = {"learner": Learner(Model, loss), "batches": endless, "steps_per_epoch": 1}
    return train(
        config or configured(),
        workdir,
        unit="samples",
        measure_every=3,
        mesh=make_mesh(1),
        measure=probe,
        **(usual | options),
    )


def computed(workdir: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    timed = "samples_per_second", "waiting_for_data"
    return [{name: x for name, x in line.items() if name not in timed} for line in lines]


def probes(workdir: Path) -> dict[int, float]:
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len({line["step"] for line in found}) == len(found)
    return {line["step"]: line["probe"] for line in found if "probe" in line}


def test_probes_are_on_schedule_on_the_parameters_of_their_step(tmp_path: Path):
    probe = Probe()
    run(tmp_path / "probed", probe)
    written = probes(tmp_path / "probed")
    assert list(written) == [3, 6, 9, 11]
    assert list(written.values()) == probe.seen and len(set(probe.seen)) == 4
    run(tmp_path / "bare", None)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("probed", "bare")]
    assert [json.loads(line)["step"] for line in lines[0].splitlines()] == [3, 4, 6, 8, 9, 11]
    assert [json.loads(line)["step"] for line in lines[1].splitlines()] == [4, 8, 11]
    assert probes(tmp_path / "bare") == {}


def test_a_line_has_the_means_of_its_steps(tmp_path: Path):
    lines = {}
    for log_every in (1, 4):
        run(tmp_path / str(log_every), None, configured(log_every=log_every))
        lines[log_every] = [line["loss"] for line in computed(tmp_path / str(log_every))]
    means = [np.mean(lines[1][start:end]) for start, end in ((0, 4), (4, 8), (8, 11))]
    assert lines[4] == pytest.approx(means)


def test_another_seed_has_other_initial_values_and_draws(tmp_path: Path):
    def draws(model, batch, keys):
        return loss(model, batch, keys)[0], {"drawn": jax.random.uniform(keys[0])}

    for seed in (0, 1):
        config = configured(epochs=1, log_every=1, seed=seed)
        run(tmp_path / str(seed), None, config, learner=Learner(Model, draws))
    first, other = (computed(tmp_path / str(seed))[0] for seed in (0, 1))
    assert first["drawn"] != other["drawn"] and first["loss"] != other["loss"]


def test_a_line_says_where_in_the_schedule_it_is(tmp_path: Path):
    config = configured(epochs=3, log_every=2)
    run(tmp_path, None, config, steps_per_epoch=2)
    lines = computed(tmp_path)
    assert [(line["step"], line["epoch"]) for line in lines] == [(2, 1.0), (4, 2.0), (6, 3.0)]
    rate = learning_rate(config, 2)  # of the step that a line ends with; steps count from 0
    assert [line["learning_rate"] for line in lines] == [float(rate(n)) for n in (1, 3, 5)]


def test_pictures_are_on_schedule(tmp_path: Path):
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "png")
    seen = []

    def pictures(parameters: Parameters) -> dict[str, bytes]:
        seen.append(float(parameters["encoder.blocks.0.kernel"].sum()))
        return {"drawn": png.getvalue()}

    probe = Probe()
    run(tmp_path, probe, pictures=pictures, pictures_every=6)
    assert seen == [probe.seen[1], probe.seen[3]]  # at steps 6 and 11, of which probes know too
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("pictures/drawn")] == [6, 11]


def test_it_starts_from_the_parameters_given(tmp_path: Path):
    """A kernel of zeros: the first loss is that of the bias, which is zero too."""
    zeros = {"encoder.blocks.0.kernel": np.zeros((2, 1), np.float32)}
    run(tmp_path / "given", None, configured(log_every=1), initial=zeros)
    run(tmp_path / "random", None, configured(log_every=1))
    losses = [computed(tmp_path / name)[0]["loss"] for name in ("given", "random")]
    assert losses[0] == 0 < losses[1]


def test_the_average_starts_at_the_parameters_given(tmp_path: Path):
    zeros = {"encoder.blocks.0.kernel": np.zeros((2, 1), np.float32)}
    config = configured(ema_decay=0.9)
    config.optimizer.base_learning_rate = 0.0
    assert not np.any(run(tmp_path, None, config, initial=zeros)["encoder.blocks.0.kernel"])


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_average_is_kept_and_returned_where_there_is_one(tmp_path: Path, decay: float):
    probe = Probe()
    result = run(tmp_path, probe, configured(ema_decay=decay))
    assert probe.seen[-1] == float(result["encoder.blocks.0.kernel"].sum())
    with Checkpoints(tmp_path) as checkpoints:
        parts = checkpoints.shapes()
    assert set(parts) == ({"parameters", "average"} if decay else {"parameters"})
    np.testing.assert_array_equal(
        result["encoder.blocks.0.kernel"],
        load_parameters(tmp_path)[0]["encoder.blocks.0.kernel"],
    )


def test_the_average_is_of_the_parameters_after_each_step(tmp_path: Path):
    config = configured(ema_decay=0.9, checkpoint_every=1, keep_checkpoints=99)
    initial = {"encoder.blocks.0.kernel": np.full((2, 1), 0.5, np.float32)}
    (name, expected), *_ = initial.items()
    average = run(tmp_path, None, config, initial=initial)[name]
    kernels = []
    for step in range(11, 0, -1):  # the newest, which then goes
        with Checkpoints(tmp_path) as checkpoints:
            place = jax.ShapeDtypeStruct((2, 1), np.float32, sharding=average.sharding)
            kept = checkpoints.restore({"parameters": {name: place}}, partial=True)
        kernels.append(np.asarray(kept["parameters"][name]))
        shutil.rmtree(tmp_path / "checkpoints" / str(step))
    for step, kernel in enumerate(reversed(kernels)):
        kept = (1 + step) / (10 + step)  # all eleven are below the decay
        expected = kept * expected + (1 - kept) * kernel
    assert not np.allclose(average, kernels[0])
    np.testing.assert_allclose(average, expected, rtol=1e-5)


def test_what_is_frozen_has_no_average_and_stays_in_the_result(tmp_path: Path):
    frozen, trained = (f"encoder.blocks.0.{name}" for name in ("kernel", "bias"))
    probed = []

    def probe(parameters: Parameters) -> dict[str, float]:
        probed.append(jax.device_get(parameters))
        return {}

    result = run(
        tmp_path,
        probe,
        configured(ema_decay=0.9),
        initial={frozen: np.full((2, 1), 0.5, np.float32), trained: np.ones(1, np.float32)},
        learner=Learner(Model, loss, lambda parameters: {trained: parameters[trained]}),
    )
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.shapes() == {
            "parameters": {frozen: (2, 1), trained: (1,)},
            "average": {trained: (1,)},
        }
    loaded, _ = load_parameters(tmp_path)
    for parameters in (*probed, result, loaded):
        assert parameters.keys() == {frozen, trained}
        assert (parameters[frozen] == 0.5).all() and (parameters[trained] < 1).all()
    assert loaded[trained] == result[trained]


@pytest.mark.parametrize(
    ("stop_at_call", "by"), [(1, signal.SIGTERM), (2, signal.SIGINT), (3, signal.SIGTERM)]
)
def test_after_a_stop_nothing_is_lost_or_doubled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stop_at_call: int, by: signal.Signals
):
    caplog.set_level(logging.INFO)
    whole, first, second = Probe(), Probe(stop_at_call, by), Probe()
    run(tmp_path / "whole", whole)
    with pytest.raises(SystemExit, match="143"):
        run(tmp_path / "stopped", first)
    assert "continuing" not in caplog.text
    stopped_at = (4, 7, 10)[stop_at_call - 1]
    assert f"saved at step {stopped_at} of 11" in caplog.text
    run(tmp_path / "stopped", second)
    assert f"from step {stopped_at} of 11" in caplog.text
    assert probes(tmp_path / "stopped") == probes(tmp_path / "whole")
    assert first.seen + second.seen == whole.seen
    # Of the three steps only the first has a line: the others' numbers are in the line after them,
    # as if there had been no stop.
    assert computed(tmp_path / "stopped") == computed(tmp_path / "whole")


class Killed(Exception):
    """What ends a run between two checkpoints."""


def test_a_probe_after_the_last_checkpoint_of_a_killed_run_comes_again(tmp_path: Path):
    def dies(parameters) -> dict[str, float]:
        raise Killed

    with pytest.raises(Killed):
        run(tmp_path, dies)
    probe = Probe()
    run(tmp_path, probe)
    assert list(probes(tmp_path)) == [3, 6, 9, 11] and len(probe.seen) == 4


def test_checkpoints_are_on_schedule(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Killed in step 8, it goes on from 6, with the numbers of steps 5 and 6 for the next line."""
    caplog.set_level(logging.INFO)

    def dies(samples):
        for number, batch in enumerate(samples):
            if number == 7:
                raise Killed
            yield batch

    config = configured(checkpoint_every=3, keep_checkpoints=9)
    with pytest.raises(Killed):
        run(tmp_path / "killed", None, config, batches=through(dies))
    run(tmp_path / "killed", None, config)
    assert "from step 6 of 11" in caplog.text
    run(tmp_path / "whole", None, config)
    assert computed(tmp_path / "killed") == computed(tmp_path / "whole")
    saved = {int(path.name) for path in (tmp_path / "killed/checkpoints").iterdir()}
    assert saved == {3, 6, 9, 11}


def test_a_finished_run_does_nothing_more(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    result = run(tmp_path, None)
    assert "is trained to its last step" not in caplog.text
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = run(tmp_path, None, batches=None)  # which it does not ask for
    assert f"{tmp_path} is trained to its last step, 11" in caplog.text
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    np.testing.assert_array_equal(
        again["encoder.blocks.0.kernel"], result["encoder.blocks.0.kernel"]
    )


def test_what_stops_it_after_the_last_step_stops_what_would_follow(tmp_path: Path):
    with pytest.raises(SystemExit, match="143"):
        run(tmp_path, Probe(4))
    run(tmp_path, Probe())
    assert list(probes(tmp_path)) == [3, 6, 9, 11]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Batches]:
    """Batches of which that of step 7 is not finite."""
    # They are of no data set, which would name what they are made of.
    monkeypatch.setattr("mv2mae_jax.training.loop.batch_ids", lambda *_: ["of step 7"])

    def change(samples):
        for number, batch in enumerate(samples):
            yield batch | {"x": batch["x"] * (np.nan if number == 6 else 1)}

    return through(change)


def test_steps_before_one_that_is_not_finite_are_not_lost(
    tmp_path: Path, poisoned: Callable[..., Batches]
):
    """Found out with the line of step 8, step 7 is named, and a line has steps 5 and 6."""
    with pytest.raises(InputError, match="step 7"):
        run(tmp_path / "poisoned", None, batches=poisoned)
    run(tmp_path / "whole", None, configured(log_every=2))
    lines, whole = computed(tmp_path / "poisoned"), computed(tmp_path / "whole")
    assert [line["step"] for line in lines] == [4, 6]
    assert "loss" in lines[1] and lines[1].items() <= whole[2].items()
    with Checkpoints(tmp_path / "poisoned") as checkpoints:
        assert checkpoints.latest_step == 6


def test_steps_that_a_checkpoint_keeps_are_counted_once(
    tmp_path: Path, poisoned: Callable[..., Batches]
):
    """Step 7 is not finite, and checkpoint 6 has steps 5 and 6, of which no line is written yet."""
    saving = configured(checkpoint_every=2)
    with pytest.raises(InputError, match="step 7"):
        run(tmp_path / "poisoned", None, saving, batches=poisoned)
    run(tmp_path / "poisoned", None, saving)
    run(tmp_path / "whole", None, saving)
    assert computed(tmp_path / "poisoned") == computed(tmp_path / "whole")


def test_other_data_are_refused(tmp_path: Path):
    with pytest.raises(SystemExit):
        run(tmp_path, Probe(1), data="one")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
    assert {path.name for path in before} >= {"metrics.jsonl", "parameters.txt"}
    (tmp_path / "parameters.txt").write_text("of the run")
    before[tmp_path / "parameters.txt"] = b"of the run"
    with pytest.raises(InputError, match=f"data set has changed since step 4 of {tmp_path};"):
        run(tmp_path, Probe(), data="another")
    assert all(path.read_bytes() == content for path, content in before.items())
    run(tmp_path, Probe(), data="one")


@pytest.mark.parametrize("line", [b'{"loss": 1}', b"nonsense", b"[]", b'"\xe9"', b"[" * 100_000])
def test_a_damaged_line_of_metrics_is_named(tmp_path: Path, line: bytes):
    (tmp_path / "metrics.jsonl").write_bytes(line + b"\n")
    with pytest.raises(InputError, match=r"line 1 of .*metrics\.jsonl is damaged"):
        run(tmp_path, None)
    assert (tmp_path / "metrics.jsonl").read_bytes() == line + b"\n"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the loop takes for the time."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_the_time_of_a_probe_is_not_that_of_training(tmp_path: Path, clock: SimpleNamespace):
    def of_a_second_each(samples):
        for batch in samples:
            clock.now += 1
            yield batch

    def slow(parameters) -> dict[str, float]:
        clock.now += 100
        return {}

    config = configured(epochs=6)
    config.data.repeats = 2  # a step has twice the samples of the batch size
    run(tmp_path, slow, config, batches=through(of_a_second_each))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 4, 6]
    assert [line["samples_per_second"] for line in lines] == [8.0] * 3


def test_one_step_runs_while_the_next_batch_is_fetched_and_never_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace
):
    """And what is waited for is the batch alone."""
    happened = []

    class Loss:
        """Of a step that is done when it is asked for."""

        def __init__(self, step: int):
            self.step = step

        def block_until_ready(self) -> None:
            if threading.current_thread() is threading.main_thread():
                happened.append(f"step {self.step} is done")

        def __array__(self) -> np.ndarray:
            return np.zeros((), np.float32)

    class Recorded(Progress):
        def waited(self, since: float) -> None:
            happened.append(f"{clock.now - since} s")

    def step(state, batch):
        clock.now += 100
        number = 1 + sum("begins" in x for x in happened)
        happened.append(f"step {number} begins")
        return state, {"loss": Loss(number)}

    def fetched(samples):
        for number, batch in enumerate(samples, start=1):
            clock.now += number
            happened.append(f"batch {number}")
            yield batch

    monkeypatch.setattr("mv2mae_jax.training.step.make_train_step", lambda *_, **__: step)
    monkeypatch.setattr(loop, "Progress", Recorded)
    run(tmp_path, None, configured(epochs=3), batches=through(fetched))
    assert happened == [
        *("batch 1", "1.0 s", "step 1 begins"),
        *("batch 2", "2.0 s", "step 2 begins", "step 1 is done"),
        *("batch 3", "3.0 s", "step 3 begins", "step 2 is done"),
    ]
