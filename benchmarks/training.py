"""Steps of training on given batches, without a loop, records or a work directory."""

from collections.abc import Iterable, Sequence
from typing import cast

import jax
from jax.stages import Compiled, Wrapped
from ml_collections import ConfigDict

from mv2mae_jax.data.loader import Batch
from mv2mae_jax.learner import learner_of
from mv2mae_jax.training.sharding import make_mesh, to_devices
from mv2mae_jax.training.step import DeviceBatch, Metrics, assemble


class Training:
    """The model of a config and its jitted step; with classes, its classifier.

    On one device, as PyTorch's with which it is compared, unless there are others.
    """

    def __init__(
        self, config: ConfigDict, classes: int = 0, devices: Sequence[jax.Device] | None = None
    ) -> None:
        self._mesh = make_mesh(config.mesh.fsdp, devices or jax.devices()[:1])
        learner = learner_of(config, classes)
        _, self.state, self._step = assemble(config, learner, 1, self._mesh)

    def on(self, batches: Iterable[Batch]) -> list[Metrics]:
        """Trains on each batch; the metrics of every step."""
        every = []
        for batch in batches:
            self.state, metrics = self._step(self.state, self.put(batch))
            every.append(metrics)
        return every

    def put(self, batch: Batch) -> DeviceBatch:
        """The batch on the devices."""
        return to_devices(batch, self._mesh)

    def compiled(self, batch: DeviceBatch) -> Compiled:
        """The step's program for batches of these shapes."""
        step = cast(Wrapped, self._step)
        return step.lower(self.state, batch).compile()
