"""Run by test_loader_survives.py: makes a batch for each line of its input, until that ends.

As training does, it takes note of SIGINT and SIGTERM and goes on.
"""

import json
import os
import signal
import sys
from pathlib import Path

from ml_collections import ConfigDict

from benchmarks.soak import loader_workers
from mv2mae_jax.data import loader


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # ignored, they would be so in workers too
        signal.signal(number, lambda *_: None)
    config = ConfigDict(json.loads(Path(sys.argv[1]).read_text()))
    with loader.pretraining_batches(config) as batches:
        for _ in sys.stdin:
            index = next(batches)["index"].tolist()
            workers = loader_workers(os.getpid())
            told = {"index": index, "workers": workers, "memory": batches._samples._memory}
            print(json.dumps(told | batches.counts()), flush=True)


if __name__ == "__main__":
    main()
