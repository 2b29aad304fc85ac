"""Run by test_compiled.py in a process of its own: what the training step exchanges.

Compiles it for the devices there are, by the changes of the small config that are given as JSON,
and prints JSON: the exchanges, and the bytes of the parameters.
"""

import json
import sys

import jax

from configs.base import get_config
from mv2mae_jax.cost.compiled import collectives
from mv2mae_jax.cost.program import trace_step, tree_bytes
from mv2mae_jax.training.sharding import make_mesh


def main(changes: dict[str, object], classes: int) -> None:
    config = get_config()
    config.model.variant, config.model.dtype = "mini", "float32"
    config.data.num_frames, config.data.image_size = 4, 32
    config.batch_size = 16
    config.update_from_flattened_dict(changes)
    traced, state = trace_step(config, classes, make_mesh(config.mesh.fsdp))
    text = traced.lower().compile().as_text()
    found = [(x.kind, x.bytes, x.group, x.times) for x in collectives(text, jax.device_count())]
    print(json.dumps([found, tree_bytes(state.parameters)]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
