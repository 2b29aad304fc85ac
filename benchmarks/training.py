"""Steps of training on given batches, without a loop, records or a work directory."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

from flax import nnx
from jax.stages import Compiled, Wrapped
from ml_collections import ConfigDict

from mv2mae_jax.data.loader import Batch
from mv2mae_jax.model import build
from mv2mae_jax.tasks.finetune import classification_loss
from mv2mae_jax.tasks.pretrain import pretraining_loss
from mv2mae_jax.training.optimizer import adamw, learning_rate, trainable_parameters
from mv2mae_jax.training.sharding import make_mesh, to_devices
from mv2mae_jax.training.step import (
    DeviceBatch,
    Loss,
    Metrics,
    create_state,
    make_train_step,
)


class Training:
    """The model of a config and its jitted step; with classes, its classifier."""

    def __init__(self, config: ConfigDict, classes: int = 0) -> None:
        self._mesh = make_mesh(config.mesh.fsdp)
        make_optimizer = partial(adamw, config, learning_rate(config, steps_per_epoch=1))
        loss: Loss = partial(pretraining_loss, config)
        make_model: Callable[[nnx.Rngs], nnx.Module] = partial(build.pretraining_model, config)
        blocks = -1
        if classes:
            loss = partial(classification_loss, config)
            make_model = partial(build.classifier, config, classes)
            blocks = config.finetune.trainable_blocks
        trainable = partial(trainable_parameters, last_blocks=blocks)
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
