"""Steps of training on given batches, without a loop, records or a work directory."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import cast

import jax
from jax.stages import Compiled, Wrapped
from ml_collections import ConfigDict

from mv2mae_jax.cost.program import parts_of
from mv2mae_jax.data.loader import Batch
from mv2mae_jax.training.optimizer import learning_rate, update_rule
from mv2mae_jax.training.sharding import make_mesh, to_devices
from mv2mae_jax.training.step import (
    DeviceBatch,
    Metrics,
    create_state,
    make_train_step,
)


class Training:
    """The model of a config and its jitted step; with classes, its classifier.

    On one device, as PyTorch's with which it is compared, unless there are others.
    """

    def __init__(
        self, config: ConfigDict, classes: int = 0, devices: Sequence[jax.Device] | None = None
    ) -> None:
        self._mesh = make_mesh(config.mesh.fsdp, devices or jax.devices()[:1])
        make_optimizer = partial(update_rule, config, learning_rate(config, steps_per_epoch=1))
        loss, make_model, trainable = parts_of(config, classes)
        definition, self.state = create_state(
            make_model,
            make_optimizer,
            config.seed,
            self._mesh,
            trainable=trainable,
            averaged=config.ema_decay > 0,
        )
        self._step = make_train_step(
            definition,
            loss,
            make_optimizer(self.state.parameters),
            seed=config.seed,
            accumulation=config.accumulation,
            state=self.state,
            mesh=self._mesh,
            trainable=trainable,
            ema_decay=config.ema_decay,
        )

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
