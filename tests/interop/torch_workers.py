"""Run by test_torch_dataset.py: reads the data set at a path in DataLoaders' workers.

In a process of its own, as records must not have been read before workers are forked.
"""

import sys

import torch
from torch.utils.data import DataLoader, Subset

from configs.mannequin import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.torch_dataset import VideoDataset


def epoch(loader: DataLoader) -> torch.Tensor:
    return torch.cat([batch["pixel_values"] for batch in loader])


def main(data_dir: str) -> None:
    config = get_config("finetune")
    config.data.data_dir = data_dir
    train, test = VideoDataset(config, "train"), VideoDataset(config, "test")
    options = {"batch_size": 2, "num_workers": 2}

    # The same video for each worker, twice: whatever differs was drawn.
    same_video = DataLoader(Subset(train, [5] * 4), **{**options, "batch_size": 1})
    torch.manual_seed(1)
    drawn = [*epoch(same_video), *epoch(same_video)]
    assert not any(torch.equal(drawn[i], drawn[j]) for i in range(8) for j in range(i))
    torch.manual_seed(1)
    again = [*epoch(same_video), *epoch(same_video)]
    assert all(map(torch.equal, again, drawn))

    few = Subset(test, range(6))
    forked = epoch(DataLoader(few, **options))
    spawned = epoch(DataLoader(few, **options, multiprocessing_context="spawn"))
    here = epoch(DataLoader(few, batch_size=2))
    assert torch.equal(forked, here) and torch.equal(spawned, here)

    # Records are open in this process now.
    try:
        epoch(DataLoader(few, **options))
    except InputError as error:
        assert "multiprocessing_context='spawn'" in str(error)
    else:
        raise AssertionError("read in a fork of a process that had read")
    assert "jax" not in sys.modules


if __name__ == "__main__":
    main(sys.argv[1])
