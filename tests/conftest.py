"""While the tests run, the shapes in the signatures of the networks are checked at every call."""

from jaxtyping import install_import_hook

install_import_hook(["mv2mae_jax.model", "mv2mae_jax.objective"], "beartype.beartype")
