"""Pre-training: reconstruct the masked tubelets of each view from itself and from the others."""

import jax
from etils import epath
from ml_collections import ConfigDict

from mv2mae_jax.data import loader
from mv2mae_jax.data.records import fingerprint
from mv2mae_jax.data.samples import unit
from mv2mae_jax.evaluation.scheduled_probe import scheduled_probe
from mv2mae_jax.interop.initial import load_initial
from mv2mae_jax.learner import learner_of
from mv2mae_jax.training.checkpoints import has_checkpoint
from mv2mae_jax.training.loop import train
from mv2mae_jax.training.sharding import make_mesh, require_even_batches
from mv2mae_jax.training.workdir import opened
from mv2mae_jax.visualize.scheduled_pictures import scheduled_pictures


def pretrain(config: ConfigDict, workdir: epath.PathLike) -> None:
    """Pre-trains an encoder on the training split of a protocol, ignoring the labels.

    Raises:
      InputError: the data or `init_from` cannot be used as configured, or they are not those of
        the run in `workdir`; or as `train`.
      SystemExit: as `train`.
    """
    require_even_batches(config, jax.device_count())
    steps_per_epoch = loader.steps_per_epoch(config)
    starts = config.pretrain.init_from and not has_checkpoint(workdir)
    initial = load_initial(config, config.pretrain.init_from) if starts else None
    mesh = make_mesh(config.mesh.fsdp)
    with opened(workdir, config) as path:
        train(
            config,
            path,
            learner=learner_of(config),
            batches=loader.pretraining_batches,
            steps_per_epoch=steps_per_epoch,
            unit=unit(config),
            mesh=mesh,
            data=fingerprint(config.data.data_dir, config.data.dataset),
            initial=initial,
            measure=scheduled_probe(config, mesh),
            measure_every=max(1, round(config.probe.every_epochs * steps_per_epoch)),
            pictures=scheduled_pictures(config, mesh),
            pictures_every=max(1, round(config.pictures_every_epochs * steps_per_epoch)),
        )
