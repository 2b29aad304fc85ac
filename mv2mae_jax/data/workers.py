"""Samples made ahead, in threads or in worker processes with threads; processes may be killed."""

import logging
import math
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grain
from absl import flags
from ml_collections import ConfigDict

from configs.base import FROM_CORES
from mv2mae_jax.data.process import (
    free_shared_memory,
    new_shared_memory_name,
    shield_what_starts_here,
    start_worker,
    tune_process,
)
from mv2mae_jax.data.samples import Sample
from mv2mae_jax.errors import InputError
from mv2mae_jax.processes import usable_cores

log = logging.getLogger(__name__)

MOST_DEATHS = 3  # of workers, while one batch is made
MOST_AT_ONCE = 8  # samples handed over by a worker: less work for this process than one by one

# Grain's words for a process that died of a signal. One that ends otherwise has a bug.
_KILLED = re.compile(r"terminated unexpectedly with exit code -(\d+)")


class Samples(Iterator[Sample]):
    """Samples in order, one by one or some joined; `close` ends the threads and processes.

    When a worker process is killed, all are started again from the next sample on. Samples are
    functions of their place, so they are what they would have been.

    Attributes:
      restarts: how often workers were started again.
    """

    def __init__(
        self, data: ConfigDict, samples: grain.MapDataset[Sample], batch_size: int
    ) -> None:
        """Starts nothing yet: the first `next` does.

        Args:
          data: `config.data`.
          samples: makes the sample of each place, or those that are handed over together.
          batch_size: places made ahead, so that the next batch is ready when the step is done.
            They are batched after the workers: neither memory nor the time to the first batch
            grows with the number of threads.
        """
        self.restarts = 0
        self._workers = num_workers(data)
        self._threads = data.threads
        self._samples = samples
        self._batch_size = batch_size
        self._iterator: grain.DatasetIterator[Sample] | None = None
        self._memory = ""  # the workers'
        self._taken = 0
        self._deaths = 0  # since the last whole batch
        tune_process()

    def __next__(self) -> Sample:
        """The next sample.

        Raises:
          InputError: workers were killed again and again.
        """
        while True:
            try:
                sample = self._start() if self._iterator is None else next(self._iterator)
            except RuntimeError as error:
                killed = _KILLED.search(str(error))
                if killed is None:
                    raise
                self.close()
                self._iterator = None
                self._count_death(int(killed[1]))
            else:
                self._taken += 1
                if self._taken % self._batch_size == 0:
                    self._deaths = 0
                return sample

    def close(self) -> None:
        """Ends threads and worker processes; may be called again."""
        if self._iterator is not None:
            self._iterator.close()
            if self._workers > 0:
                free_shared_memory(self._memory)

    def _start(self) -> Sample:
        """Starts threads or workers at the next sample; returns it."""
        workers, threads = self._workers, self._threads
        ahead = max(threads, math.ceil(self._batch_size / max(1, workers)))
        read_options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        dataset = self._samples[self._taken :].to_iter_dataset(read_options)
        if workers == 0:
            self._iterator = iter(dataset)
            return next(self._iterator)
        if not flags.FLAGS.is_parsed():  # outside of absl's `app.run`; Grain asks for its flags
            flags.FLAGS.mark_as_parsed()
        options = grain.multiprocessing.MultiprocessingOptions(
            num_workers=workers, per_worker_buffer_size=2
        )
        self._memory = new_shared_memory_name()
        first = partial(start_worker, self._memory)
        self._iterator = iter(dataset.mp_prefetch(options, worker_init_fn=first))
        with ThreadPoolExecutor(1, initializer=shield_what_starts_here) as shielded:
            return shielded.submit(next, self._iterator).result()

    def _count_death(self, number: int) -> None:
        """Says that a worker died of a signal, and gives up if that happens too often."""
        cause = signal.Signals(number).name
        if number == signal.SIGKILL:
            cause += ", as when memory runs out"
        self._deaths += 1
        if self._deaths == MOST_DEATHS:
            raise InputError(
                f"{MOST_DEATHS} times a loader worker was killed ({cause}) while one batch was "
                f"made; lower config.data.workers={self._workers} or "
                f"config.data.threads={self._threads}, or give the job more memory"
            )
        self.restarts += 1
        log.warning(
            "a loader worker was killed (%s); started again, %d times so far", cause, self.restarts
        )


def num_workers(data: ConfigDict) -> int:
    """Worker processes of `config.data`.

    Threads of one process keep a few cores busy, as decoding and resizing release Python's lock,
    and start at once. So workers are for what is beyond: one for every `data.threads` cores.
    """
    if data.workers != FROM_CORES:
        return data.workers
    return usable_cores() // data.threads


def samples_at_once(data: ConfigDict, batch_size: int) -> int:
    """How many samples of a batch are best handed over together.

    A divisor of the batch that leaves a part for every thread of every worker; 1 without workers,
    as nothing is handed over then.
    """
    makers = num_workers(data) * data.threads
    most = min(MOST_AT_ONCE, batch_size // makers) if makers else 1
    return max((n for n in range(2, most + 1) if batch_size % n == 0), default=1)
