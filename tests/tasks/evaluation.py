"""Run by test_evaluate.py in processes of their own: evaluates with the devices there are.

Arguments: work directory, data directory, number of this process and of all, port of the first.
"""

import sys

import jax

from configs.mannequin import get_config
from mv2mae_jax.tasks.evaluate import evaluate


def main(workdir: str, data_dir: str, process: int, processes: int, port: str) -> None:
    if processes > 1:
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    config = get_config("evaluate,protocol=xsub")
    config.data.data_dir = data_dir
    config.evaluation.clips, config.evaluation.crops = 2, 5
    config.evaluation.batch_size = 13
    evaluate(config, workdir)
    print(f"{jax.local_device_count()} of {jax.device_count()} devices")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
