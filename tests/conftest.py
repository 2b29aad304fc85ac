"""Tests run small programs once: they are compiled fast, and the shapes at every call checked."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_opt_preset=fast_compile"
    " --xla_cpu_parallel_codegen_split_count=1"
    # JAX 0.12, which is that of Python 3.12, ends at this one.
    + " --xla_cpu_use_fusion_emitters=false"
    * version("jaxlib").startswith("0.10."),
)
# Where there is an accelerator too: what is expected here is a CPU's.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Two tests at a time on two cores: threads of OpenMP, waiting for each other, would take them all.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

# Before any of it is imported, or its shapes are not checked.
SHAPED = ("data", "model", "objective", "mixing", "losses")
install_import_hook([f"mv2mae_jax.{name}" for name in SHAPED], "beartype.beartype")

# Files of few tests that take long: begun last, one process would still run when all have ended.
LONG = ("test_tour.py", "test_survival.py", "test_scale.py", "test_reproduced_runs.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # one will do

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the commands compile is kept for the other tests, not for the user's runs."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: pages are not looked at")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def mannequin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a mannequin of two subjects: 24 activities, three cameras.

    Made once for all processes that run tests; who damages it copies it first.
    """
    from mv2mae_jax.processes import take_lock

    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    data_dir = folder / "data"
    with (folder / "data.lock").open("w") as lock:
        take_lock(lock, wait=True)
        if not list(data_dir.glob("mannequin/*/index.json")):  # which is written last
            size = ("--subjects=2", "--replications=1")
            paths = (f"--raw-dir={folder / 'raw'}", f"--data-dir={data_dir}")
            words = [sys.executable, "-m", "mv2mae_jax.prepare", "mannequin", *paths, *size]
            subprocess.run(words, check=True, capture_output=True)
    return data_dir
