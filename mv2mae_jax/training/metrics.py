"""What a run leaves for people: metrics.jsonl, TensorBoard events, and a line of progress."""

import json
import sys
import time
from types import TracebackType
from typing import Self

import jax
from etils import epath
from tensorboardX import SummaryWriter
from tqdm import tqdm

from mv2mae_jax.storage import GrowingFiles

PUBLISH_SECONDS = 60  # between two copies to object storage


class MetricsWriter:
    """Writes scalars to `metrics.jsonl`, one object a line, and to TensorBoard.

    Starting at a step drops what an interrupted run wrote beyond it: those steps come again. Of
    several processes the first writes, the others do nothing.
    """

    def __init__(self, workdir: epath.Path, start_step: int):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        before = workdir / "metrics.jsonl"
        lines = before.read_text().splitlines(keepends=True) if before.exists() else []
        whole = (line for line in lines if line.endswith("\n"))  # a kill may cut the last one
        kept = [line for line in whole if json.loads(line)["step"] <= start_step]
        self._files = GrowingFiles(workdir)
        file = self._files.path / before.name
        file.write_text("".join(kept))
        self._file = file.open("a", buffering=1)
        self._tensorboard = SummaryWriter(str(self._files.path), purge_step=start_step + 1)
        self._published = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writes:
            self._file.close()
            self._tensorboard.close()
            self._files.close()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Appends the scalars of one step."""
        if not self._writes:
            return
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        for name, value in scalars.items():
            self._tensorboard.add_scalar(name, value, step)
        if time.monotonic() - self._published > PUBLISH_SECONDS:
            self.publish()

    def publish(self) -> None:
        """A checkpoint may follow: all lines up to it are where a restarted run finds them."""
        if not self._writes:
            return
        self._tensorboard.flush()
        self._files.publish()
        self._published = time.monotonic()


class Progress:
    """A bar with loss, rate, share of time waiting for data and time left.

    On a terminal it moves; elsewhere (a log file, a batch job) it is a line now and then.
    """

    def __init__(self, name: str, start_step: int, total_steps: int, samples_per_step: int):
        self._bar = tqdm(
            total=total_steps,
            initial=start_step,
            desc=name,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty() or jax.process_index() > 0,
            bar_format="{desc} {percentage:3.0f}% {bar} {n}/{total} "
            "[{elapsed}, {remaining} left]{postfix}",
        )
        self._name = name
        self._total = total_steps
        self._samples = samples_per_step
        self._since = (start_step, time.perf_counter())
        self._waited = 0.0

    def waited(self, seconds: float) -> None:
        """Counts time that the devices had nothing to do because the next batch was not ready."""
        self._waited += seconds

    def step(self) -> None:
        """One step is done."""
        self._bar.update()

    def report(self, step: int, loss: float, unit: str) -> dict[str, float]:
        """Shows how it goes since the last report; returns the rate and the share of waiting."""
        now = time.perf_counter()
        since_step, since_time = self._since
        seconds = now - since_time
        rate = (step - since_step) * self._samples / seconds
        waiting = self._waited / seconds
        text = f"loss {loss:.4f} · {rate:,.1f} {unit}/s · waiting for data {waiting:.0%}"
        if self._bar.disable:
            left = (self._total - step) * self._samples / rate
            clock = tqdm.format_interval(left)
            print(f"{self._name} {step}/{self._total} · {text} · {clock} left", flush=True)
        else:
            self._bar.set_postfix_str(text)
        self._since, self._waited = (step, now), 0.0
        return {f"{unit}_per_second": rate, "waiting_for_data": waiting}

    def resume(self) -> None:
        """The next report does not count the time since the last one, which was not training."""
        self._since = (self._since[0], time.perf_counter())

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()
