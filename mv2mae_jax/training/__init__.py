"""What every training task shares: parameters, optimiser, sharding, step, checkpoints, loop."""
