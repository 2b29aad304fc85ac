"""What the benchmarks share."""

import os
import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory

from benchmarks import common
from mv2mae_jax.data.process import new_shared_memory_name

HOLD = """
import mmap, sys
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
print("mapped", flush=True)
input()
"""


def test_shared_memory_is_that_of_these_processes_alone():
    """Not that of a loader beside them."""
    mine, others = (SharedMemory(f"{new_shared_memory_name()}_1", True, 8) for _ in range(2))
    others.close()
    words = [sys.executable, "-c", HOLD, f"/dev/shm/{others.name}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as beside:
        assert beside.stdout.readline() == b"mapped\n"
        begin = common.shared_memory_of([os.getpid()])
        both = common.shared_memory_of([os.getpid(), beside.pid])
        assert begin == {mine.name.removesuffix("_1")}
        assert common.shared_memory(begin) == [mine.name]
        assert set(common.shared_memory(both)) == {mine.name, others.name}
        beside.communicate(b"\n")
    for memory in (mine, others):
        memory.close()
        memory.unlink()
    assert common.shared_memory(both) == []
