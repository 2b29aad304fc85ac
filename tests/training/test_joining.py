"""Which processes belong together, by flags and by the environment."""

import pytest

from mv2mae_jax.errors import InputError
from mv2mae_jax.training.distributed import Place, launched_alone, place_from_flags

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def test_a_place_by_flags():
    assert place_from_flags(None, None, None) is None
    assert place_from_flags("node1:1234", 4, 3) == Place("node1:1234", 4, 3)
    assert place_from_flags("[fe80::1]:1234", 2, 0) == Place("[fe80::1]:1234", 2, 0)
    assert place_from_flags(None, 1, None) == Place("", 1, 0)  # nobody to wait for


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("node1:1234", None, None), "--num_processes and --process_id missing"),
        ((None, 2, 1), "--coordinator missing"),
        (("node1", 2, 1), "--coordinator=node1; it is HOST:PORT"),
        (("node1:0", 2, 1), "--coordinator=node1:0; it is HOST:PORT"),
        (("node1:99999", 2, 1), "a port of 1 to 65535"),
        (("node1:1234", 2, 2), "--process_id=2 of --num_processes=2; it is 0 to 1"),
        (("node1:1234", 2, -1), "--process_id=-1"),
        (("node1:1234", 0, 0), "--num_processes=0; it is 1 or more"),
    ],
)
def test_no_place_by_flags(flags: tuple, says: str):
    with pytest.raises(InputError, match=says):
        place_from_flags(*flags)


@pytest.mark.parametrize(
    ("environment", "alone"),
    [
        ({}, False),  # jax looks, and finds nothing to wait for
        ({"SLURM_NTASKS": "1"}, True),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, True),  # the shell of salloc
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "1"}, False),  # mpirun in salloc
        ({"OMPI_COMM_WORLD_SIZE": "1"}, True),
        (POD, True),
        (POD | {"JOB_COMPLETION_INDEX": "0"}, False),
        (POD | {"TPU_WORKER_HOSTNAMES": "a,b"}, False),
    ],
)
def test_who_is_alone(environment: dict[str, str], alone: bool):
    assert launched_alone(environment) == alone
