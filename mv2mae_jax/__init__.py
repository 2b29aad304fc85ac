"""Self-supervised pre-training of video encoders on synchronised multi-view video (MV2MAE)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mv2mae_jax.evaluation.features import load_encoder

__all__ = ["load_encoder"]


def __getattr__(name: str) -> Any:
    # Loaders' worker processes import this package: jax only comes with what needs it.
    if name == "load_encoder":
        from mv2mae_jax.evaluation.features import load_encoder

        return load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
