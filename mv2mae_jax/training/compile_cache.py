"""Compiled programs are kept: the second start of a run does not compile again."""

import hashlib
import platform
from pathlib import Path

import jax

from mv2mae_jax.storage import user_cache


def keep_compiled_programs() -> None:
    """Lets JAX keep what it compiles in the user's cache folder, and take it from there.

    A program is found again by its code, the devices, and the versions and flags of the compiler.
    `JAX_COMPILATION_CACHE_DIR` puts it elsewhere (also in a bucket);
    `JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(_folder()))


def _folder() -> Path:
    """Of this kind of processor alone: JAX would run the code of another, and die of it."""
    return user_cache() / f"compiled-{processor()}"


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """A digest of what instructions this machine has, as far as the system says."""
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256((platform.machine() + flags).encode()).hexdigest()[:12]
