"""Compiled programs are kept between runs, and what a kill left of one does no harm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mv2mae_jax.training.compile_cache import processor

PROGRAM = """
import json, sys, time
import jax, jax.numpy as jnp
from mv2mae_jax.training.compile_cache import keep_compiled_programs
keep_compiled_programs()
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
result = float(jax.jit(lambda x: jnp.tanh(x) @ x)(jnp.ones((3, 3)))[0, 0])
print(json.dumps({
    "folder": jax.config.jax_compilation_cache_dir,
    "hits": found.count("/jax/compilation_cache/cache_hits"),
    "result": result,
}))
"""


def start() -> dict:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_programs_are_found_again(home: Path):
    first, second = start(), start()
    assert Path(first["folder"]).parent == home / "mv2mae-jax"
    assert first["hits"] == 0 < second["hits"]
    assert second | {"hits": 0} == first


def test_what_is_torn_is_compiled_again(home: Path):
    first = start()
    entries = [path for path in home.rglob("*-cache")]
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:100])
    assert start() == first


def test_another_place_or_none(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    assert [start()["hits"], start()["hits"]] == [0, 0]
    monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert start()["folder"] == str(tmp_path / "elsewhere")
    assert not (home / "mv2mae-jax").exists()


def test_a_processor_is_known_by_its_instructions(tmp_path: Path):
    def digest(*lines: str) -> str:
        (tmp_path / "cpuinfo").write_text("\n".join(lines))
        return processor(tmp_path / "cpuinfo")

    one = digest("processor : 0", "cpu MHz : 2900.1", "flags : fma avx2", "bugs : spectre")
    assert digest("processor : 0", "cpu MHz : 1200.7", "flags : fma avx2") == one
    assert digest("processor : 0", "cpu MHz : 2900.1", "flags : fma avx2 avx512f") != one
    assert digest("Features : neon") != digest("Features : neon sve")  # as ARM has it
    assert len(processor(tmp_path / "none")) == len(one) == 12
