"""MV2MAE in JAX: masked autoencoders for synchronised multi-view video."""
