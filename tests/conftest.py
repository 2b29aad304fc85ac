"""Tests run small programs once: they are compiled fast, and the shapes at every call checked."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

from jaxtyping import install_import_hook

install_import_hook(["mv2mae_jax.model", "mv2mae_jax.objective"], "beartype.beartype")
