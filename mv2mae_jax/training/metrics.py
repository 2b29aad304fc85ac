"""What a run leaves for people: metrics.jsonl, TensorBoard events, and a line of progress."""

import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import jax
from etils import epath
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from tqdm import tqdm

from mv2mae_jax.errors import InputError
from mv2mae_jax.run_files import METRICS
from mv2mae_jax.storage import GrowingFiles, write_whole, written

PUBLISH_SECONDS = 60  # between two copies to object storage


class MetricsWriter:
    """Writes scalars to `metrics.jsonl`, one object a line, and to TensorBoard; pictures there too.

    Starting at a step drops what an interrupted run wrote beyond it: those steps come again. Of
    several processes the first writes, the others do nothing.

    Raises:
      InputError: it cannot write, or what is there is damaged.
    """

    def __init__(self, workdir: epath.Path, start_step: int):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        self.path = workdir / METRICS
        self._files = GrowingFiles(workdir)
        file = self._files.path / self.path.name
        write_whole(file, "".join(_lines_to(start_step, self.path)))
        with written(self.path):
            self._file = file.open("a", buffering=1)
            # Not its EventFileWriter, whose thread prints a traceback when the disk is full.
            self._events = RecordWriter(file.with_name(_events_name()).open("ab"))
            self._write_event(file_version="brain.Event:2")
            start = SessionLog(status=SessionLog.START)  # drops what comes after this step
            self._write_event(step=start_step + 1, session_log=start)
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
            with written(self.path):
                self._file.close()
                self._events.close()
            self._files.close()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Appends the scalars of one step.

        Raises:
          InputError: they cannot be written.
        """
        if not self._writes:
            return
        with written(self.path):
            self._file.write(json.dumps({"step": step, **scalars}) + "\n")
            values = [Summary.Value(tag=name, simple_value=x) for name, x in scalars.items()]
            self._write_event(step=step, summary=Summary(value=values))
        if time.monotonic() - self._published > PUBLISH_SECONDS:
            self.publish()

    def write_pictures(self, step: int, pictures: dict[str, bytes]) -> None:
        """Shows PNG or JPEG files, by name, in TensorBoard at one step.

        Raises:
          InputError: they cannot be written.
        """
        if not self._writes:
            return
        values = []
        for name, file in pictures.items():
            width, height = Image.open(io.BytesIO(file)).size
            image = Summary.Image(width=width, height=height, encoded_image_string=file)
            values.append(Summary.Value(tag=f"pictures/{name}", image=image))
        with written(self.path):
            self._write_event(step=step, summary=Summary(value=values))

    def _write_event(self, **fields: Any) -> None:
        self._events.write(Event(wall_time=time.time(), **fields).SerializeToString())
        self._events.flush()

    def publish(self) -> None:
        """A checkpoint may follow: all lines up to it are where a restarted run finds them."""
        if self._writes:
            self._files.publish()
            self._published = time.monotonic()


def _events_name() -> str:
    """A file that TensorBoard finds; those of restarts are in their order."""
    return f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"


def _lines_to(step: int, file: epath.Path) -> Iterator[str]:
    """The lines up to a step, each with its line break."""
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):  # cut by a kill
            continue
        try:
            if json.loads(line)["step"] <= step:
                yield line.decode()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"line {number} of {file} is damaged; remove it, and the same command continues"
            ) from error


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
        self._watch = ThreadPoolExecutor(1)  # sees when a step ends while the loop waits for data
        self._idle_since = self._watch.submit(time.perf_counter)

    def waited(self, since: float) -> None:
        """Counts how long the devices had nothing to do because the next batch was not there.

        Args:
          since: when the wait for the batch that is there now began, by `time.perf_counter`.
        """
        now = time.perf_counter()
        if self._idle_since.done():
            self._waited += now - max(since, self._idle_since.result())

    def step(self, metrics: dict[str, jax.Array]) -> None:
        """The next step is on the devices, and done when its metrics are there."""
        self._bar.update()
        self._idle_since = self._watch.submit(_when_ready, metrics)

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
        self._watch.shutdown(wait=False)


def _when_ready(metrics: dict[str, jax.Array]) -> float:
    jax.block_until_ready(metrics)
    return time.perf_counter()
