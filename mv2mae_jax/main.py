"""python -m mv2mae_jax.main --config=configs/ntu60.py[:variant] --workdir=DIR [--config.field=...]
python -m mv2mae_jax.main --config=configs/ntu60.py:plan --topology=v5e:4x4 [--config.field=...]

Runs one task of one config in one work directory, or says what it would cost on a machine.
Exit codes: 0 done; 1 failed, the last line says why; 2 wrong usage; 143 stopped by a signal, saved,
ready to continue.

Several processes, on one host or many, run it together: see docs/scale.md.
"""

import importlib
import logging
import os
import signal
import sys
from contextlib import nullcontext

from absl import flags
from ml_collections import ConfigDict, config_flags

from configs.base import PLANS
from mv2mae_jax.check import check
from mv2mae_jax.cost.topology import Topology, parse_topology
from mv2mae_jax.errors import FAILED, WRONG_USAGE, InputError, one_line
from mv2mae_jax.training import distributed
from mv2mae_jax.training.compile_cache import keep_compiled_programs

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/FILE.py[:variant]")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "directory of this run; made if it is not there; or gs://..."
)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "machine whose cost is planned: v5e:4x4, h100:8; with :plan, without workdir"
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first process")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "processes that run this together")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "which of them this is, from 0")


def main(argv: list[str]) -> int:
    """Parses the flags and runs the config's task."""
    try:
        config, where = parse(argv)
        check(config)
        place = distributed.place_from_flags(
            _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
        )
    except (InputError, flags.Error) as error:
        return fail(error, WRONG_USAGE)
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("mv2mae_jax").setLevel(logging.INFO)
    logging.getLogger("asyncio").disabled = True  # orbax's other failures, after the one it raises
    keep_compiled_programs()
    try:
        alone = config.task in PLANS
        name = "plan" if alone else config.task
        with nullcontext() if alone else distributed.joined(place):
            task = importlib.import_module(f"mv2mae_jax.tasks.{name}")
            getattr(task, name)(config, where)
    except (InputError, OSError) as error:  # OSError: a full disk, a folder that is not writable
        return fail(error, FAILED)
    return 0


def parse(argv: list[str]) -> tuple[ConfigDict, str | Topology]:
    """The config with its overrides, and the work directory or the machine to plan for.

    Raises:
      flags.Error: a flag, a field or its value is wrong, or one is missing.
      InputError: the config's variant or the machine is wrong.
    """
    flags.mark_flags_as_required(["config"])
    try:
        rest = flags.FLAGS(argv)[1:]
        config = ConfigDict(_CONFIG.value)
    except flags.Error as error:  # a config that failed itself brings its traceback along
        raise flags.Error(str(error).rsplit("Error: ", maxsplit=1)[-1]) from error
    except (AttributeError, KeyError) as error:
        field = str(error.args[0]).strip("'\"")
        given = next((arg for arg in argv if f".{field}" in arg), field)
        raise flags.Error(f"the config has no such field: {given}; see configs/base.py") from error
    except (TypeError, ValueError, IndexError) as error:
        given = " ".join(arg for arg in argv if arg.lstrip("-").startswith("config."))
        raise flags.Error(f"wrong field or value of the config: {given} ({error})") from error
    except OSError as error:
        name = config_flags.get_config_filename(flags.FLAGS["config"])
        raise flags.Error(f"--config={name}: no such config file") from error
    if rest:
        raise flags.Error(f"not understood: {' '.join(rest)}")
    plans = config.task in PLANS
    if (_WORKDIR if plans else _TOPOLOGY).value is not None:
        takes, other = ("topology", "workdir") if plans else ("workdir", "topology")
        raise flags.Error(f"the task {config.task} takes --{takes} and no --{other}")
    if not plans and _WORKDIR.value is None:
        raise flags.Error("--workdir must be given: the directory of this run")
    where = parse_topology(_TOPOLOGY.value or "") if plans else str(_WORKDIR.value)
    return config.lock(), where


def fail(error: Exception, code: int) -> int:
    """Prints one line that says what is wrong, the last: threads of libraries are heard no more."""
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as stderr:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        print(f"error: {one_line(error)}", file=stderr)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # outside of training, where nothing is lost
    sys.exit(main(sys.argv))
