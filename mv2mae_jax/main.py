"""Runs one task of one config in one work directory, or says what it would cost on a machine.

python -m mv2mae_jax.main --config=configs/ntu60.py --workdir=runs/pretrain
python -m mv2mae_jax.main --config=configs/ntu60.py:finetune,protocol=xview --workdir=runs/finetune
python -m mv2mae_jax.main --config=configs/ntu60.py --workdir=runs/small --config.batch_size=256
python -m mv2mae_jax.main --config=configs/ntu60.py:plan --topology=v5e:4x4

A config file opens with its variants; any field of configs/base.py can be overridden.
Exit codes: 0 done; 1 failed, the last line says why; 2 wrong usage; 75 lost another process of the
run; 143 stopped by a signal, saved, or ended at once by a second signal, not saved. After 75 and
143 the same command continues.

Several processes, on one host or many, run it together: see docs/scale.md.
"""

import importlib
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from configs.base import PLANS, get_config
from mv2mae_jax.check import check, fields
from mv2mae_jax.cost.topology import Topology, parse_topology
from mv2mae_jax.errors import (
    FAILED,
    WRONG_USAGE,
    InputError,
    did_you_mean,
    lacking_memory,
    one_line,
)
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

TAKES = {  # what is written behind a field, by the type of its value
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: 'several values, in brackets and quotes: "(2,16,16)" or "(\'left\',)"',
}


def main(argv: list[str]) -> int:
    """Parses the flags and runs the config's task."""
    if "--help" in argv or "-h" in argv:  # absl's own help comes with `app.run` alone
        print(__doc__, flags.FLAGS.main_module_help().partition(":\n")[2], sep="\n")
        return 0
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
        with nullcontext() if alone else distributed.joined(place), in_one_line(config):
            task = importlib.import_module(f"mv2mae_jax.tasks.{name}")
            getattr(task, name)(config, where)
    except InputError as error:
        return fail(error, FAILED)
    return 0


@contextmanager
def in_one_line(config: ConfigDict) -> Iterator[None]:
    """What a user can mend, and a library raises, becomes an InputError, in every process."""
    try:
        yield
    except OSError as error:  # a full disk, a folder that is not writable
        raise InputError(error) from error
    except jax.errors.JaxRuntimeError as error:
        if lacking := lacking_memory(error):
            raise out_of_memory(lacking, config) from error
        raise


def out_of_memory(lacking: str, config: ConfigDict) -> InputError:
    """Says what a device lacks, and which fields lower it."""
    return InputError(
        f"a device has too little memory ({lacking}); raise config.accumulation="
        f"{config.accumulation}, set config.model.remat=True or, to test, lower "
        f"config.evaluation.batch_size={config.evaluation.batch_size}; the variant plan says what "
        "fits"
    )


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
    except flags.IllegalFlagValueError as error:
        raise flags.Error(_illegal_value(str(error))) from error
    except flags.Error as error:  # a config that failed itself brings its traceback along
        raise flags.Error(str(error).rsplit("Error: ", maxsplit=1)[-1]) from error
    except SyntaxError as error:
        raise flags.Error(f"--config: no config file ({error})") from error
    except (AttributeError, KeyError) as error:
        if "has no attribute 'get_config'" in str(error):
            raise flags.Error("--config: no config file, it has no function get_config") from error
        raise flags.Error(_no_such_field(argv, error)) from error
    except (TypeError, ValueError, IndexError) as error:
        given = " ".join(arg for arg in argv if arg.lstrip("-").startswith("config."))
        raise flags.Error(f"wrong field or value of the config: {given} ({error})") from error
    except OSError as error:
        name = config_flags.get_config_filename(flags.FLAGS["config"])
        near = did_you_mean(name, map(str, Path("configs").rglob("*.py")))
        raise flags.Error(f"--config={name}: no such config file{near}") from error
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


def _illegal_value(said: str) -> str:
    """Names the field, what it was given and what it takes, where that is known."""
    given = re.match(r"flag --config\.([\w.]+)=(.*?): ", said, re.DOTALL)
    if not given:
        return said.rsplit("Error: ", maxsplit=1)[-1]
    name, value = given.groups()
    kind = type(dict(fields(get_config())).get(name))
    takes = TAKES.get(kind, f"a section: set its fields, as --config.{name}.FIELD=VALUE")
    return f"--config.{name}={value}: invalid value; it is {takes}"


def _no_such_field(argv: list[str], error: Exception) -> str:
    """Names the override that no config has a field for, or what the config itself said."""
    known = [field for field, _ in fields(get_config())]
    for given in argv:
        start, _, name = re.split(r"[=\[]", given.lstrip("-"))[0].partition(".")
        if start == "config" and name and name not in known:
            near = did_you_mean(name, known)
            return f"the config has no such field: {given}{near} (all fields: configs/base.py)"
    return f"the config has no such field: {error} (all fields: configs/base.py)"


def fail(error: Exception, code: int) -> int:
    """Prints one line that says what is wrong, the last: threads of libraries are heard no more."""
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as stderr:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        print(f"error: {one_line(error)}", file=stderr)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # outside of training, where nothing is lost
    sys.exit(main(sys.argv))
