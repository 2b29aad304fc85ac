"""Plans, as a user meets them: real processes, on a machine that has none of the chips."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.flops import pretraining_flops
from configs.ntu60 import get_config
from mv2mae_jax.cost.estimate import DoesNotFit, cost
from mv2mae_jax.cost.topology import parse_topology
from mv2mae_jax.data import loader
from mv2mae_jax.errors import InputError
from mv2mae_jax.tasks.plan import largest_batch, training_set

SMALL = ("--config.model.variant=mini", "--config.data.num_frames=4", "--config.data.image_size=64")


def plan(config: str, topology: str, *flags: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "mv2mae_jax.main", f"--config=configs/{config}"]
    words += [f"--topology={topology}", *flags]
    return subprocess.run(words, capture_output=True, text=True)


def numbers(pattern: str, text: str) -> list[float]:
    found = re.search(pattern, text)
    assert found, text
    return [float(number.replace(",", "")) for number in found.groups()]


def test_gpus_without_data():
    """The numbers agree with each other and with the count of operations from the shapes."""
    small = "--config.model.variant=mini"
    done = plan("ntu60.py:plan", "h100:8", "--config.data.data_dir=nothing", small)
    assert done.returncode == 0, done.stderr
    assert "ESTIMATE" in done.stdout.splitlines()[0]
    (flops,) = numbers(r"GFLOP a chip, ([\d.,]+) in all", done.stdout)
    config = get_config()
    config.model.variant = "mini"
    assert flops == pytest.approx(1024 * pretraining_flops(config) / 1e9, rel=1e-4)
    compute, traffic, exchange = numbers(
        r"(?s)in all: ([\d.]+) ms.*GB a chip: ([\d.]+) ms.*among 8: ([\d.]+) ms", done.stdout
    )
    step, rate = numbers(r"a step +at best ([\d.]+) ms, ([\d,]+) pairs/s", done.stdout)
    assert step == pytest.approx(max(compute, traffic) + exchange, abs=0.2)
    assert rate == pytest.approx(1024 / (step / 1e3), rel=0.02)
    steps, hours, chip_hours = numbers(
        r"([\d,]+) steps, at best ([\d.]+) hours, ([\d.]+)", done.stdout
    )
    assert steps == 3200 * (13_440 // 1024)
    assert hours == pytest.approx(steps * step / 3.6e6, abs=0.01)
    assert chip_hours == pytest.approx(8 * hours, abs=0.1)
    host, megabytes = numbers(r"the loader +([\d,]+) pairs/s a host, ([\d,]+) MB/s", done.stdout)
    assert host == pytest.approx(rate, rel=0.01)
    assert megabytes == pytest.approx(host * 2 * 16 * 128 * 128 * 3 / 1e6, rel=0.01)


def test_what_does_not_fit_and_what_would():
    flags = (*SMALL, "--config.batch_size=32768", "--config.data.repeats=16")
    refused = plan("ntu60.py:plan_finetune", "l4:2", *flags)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "does not fit l4:2: it needs about" in line
    (advice,) = re.findall(r"it fits with (--config\.accumulation=\d+)$", line)
    followed = plan("ntu60.py:plan_finetune", "l4:2", *flags, advice)
    assert followed.returncode == 0, followed.stderr
    assert "the batch that fits: " in followed.stdout


@pytest.mark.parametrize("configured", [2, 64])
def test_the_batch_that_fits_is_the_largest_of_three_binary_digits(configured):
    config = get_config("plan")
    config.model.variant, config.data.num_frames, config.data.image_size = "mini", 4, 64
    config.batch_size, machine = configured, parse_topology("l4:2")
    batch = largest_batch(config, 0, cost(config, 0, machine))
    digits = bin(batch // 2)[2:]
    assert batch > 64 and set(digits[3:]) == {"0"}
    config.batch_size = batch
    cost(config, 0, machine)
    config.batch_size = batch + 2 * 2 ** (len(digits) - 3)
    with pytest.raises(DoesNotFit):
        cost(config, 0, machine)


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        ([":plan"], "--topology=; it is a slice of TPUs as v5e", 2),
        ([":plan", "--topology=v5e:4x4", "--workdir=x"], "no --workdir", 2),
        (["", "--topology=v5e:4x4"], "takes --workdir", 2),
        ([":plan", "--topology=v7:4"], "it is a slice of TPUs as v5e", 2),
        ([":plan", "--topology=h100:7"], "cannot be split evenly", 1),
    ],
)
def test_mistakes_get_one_line(words: list[str], says: str, code: int):
    variant, *flags = words
    command = [sys.executable, "-m", "mv2mae_jax.main", f"--config=configs/ntu60.py{variant}"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert says in done.stderr


def test_a_data_set_that_is_there_is_counted(mannequin_dir: Path):
    config = get_config()
    config.data.data_dir, config.data.dataset = str(mannequin_dir), "mannequin"
    config.data.protocol = "xview"
    assert training_set(config) == (loader.num_samples(config), 0)
    config.task = "finetune"
    assert training_set(config) == (48, 12)


def test_samples_of_what_is_not_there(tmp_path: Path):
    config = get_config()
    config.data.data_dir = str(tmp_path)
    (tmp_path / "ntu" / ".cache-2.0.0").mkdir(parents=True)  # of a build that is not finished
    assert training_set(config) == (13_440, 0)
    for field, value in (("train_fraction", 0.1), ("test_subjects", (1, 2)), ("test_views", (1,))):
        chosen = config.copy_and_resolve_references()
        chosen.data[field] = value
        assert training_set(chosen) == (None, 0)
    config.data.dataset = "kitchen"
    assert training_set(config) == (None, 0)
    config.task = "finetune"
    with pytest.raises(InputError, match="kitchen"):
        training_set(config)


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:1x1", "v5e:2x2", "v6e:4x4"])
def test_tpus(topology: str):
    """By the compiler itself, which knows what a chip has and puts the exchange in."""
    pytest.importorskip("libtpu", reason="pip install -e '.[tpu]'")
    done = plan("ntu60.py:plan", topology, *SMALL, "--config.batch_size=64")
    assert done.returncode == 0, done.stderr
    assert "ESTIMATE" not in done.stdout
    if topology == "v5e:1x1":
        assert "none: one chip" in done.stdout
    else:
        (moved,) = numbers(r"exchange +\d all-reduce of ([\d.]+) MB in all among", done.stdout)
        assert 2 < moved < 6  # 1.3 M parameters, most gradients in bfloat16
    (batch,) = numbers(r"the batch that fits: ([\d,]+), compiled too", done.stdout)
    assert batch > 64
    refused = plan("ntu60.py:plan", topology, *SMALL, f"--config.batch_size={int(4 * batch)}")
    assert refused.returncode == 1
    assert "it fits with --config.accumulation=" in refused.stderr.splitlines()[-1]
