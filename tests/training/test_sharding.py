"""Batches that the devices cannot share are refused before anything starts."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_a_batch_that_the_devices_do_not_divide(tmp_path, task):
    flags = f"--xla_force_host_platform_device_count=3 {os.environ.get('XLA_FLAGS', '')}"
    words = [sys.executable, "-m", "mv2mae_jax.main", f"--config=configs/ntu60.py:{task}"]
    words += [f"--workdir={tmp_path / 'x'}", "--config.batch_size=4", "--config.data.repeats=2"]
    done = subprocess.run(
        words, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "batch_size=4 x config.data.repeats=2" in line and "over 3 devices" in line
    assert not (tmp_path / "x").exists()
