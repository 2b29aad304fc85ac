"""The videos of a config for PyTorch, from the same records and by the same rules.

    from configs import ntu60
    from mv2mae_jax.interop.torch_dataset import VideoDataset

    dataset = VideoDataset(ntu60.get_config("finetune"), "train")
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True, num_workers=4)
    model(**next(iter(loader)))  # a Hugging Face VideoMAEForVideoClassification

jax is not needed, and not imported.
"""

import os
from typing import TypedDict

import torch
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict, FrozenConfigDict
from torch.utils.data import Dataset

from mv2mae_jax.data.process import tune_process
from mv2mae_jax.data.records import RecordSource, load_index
from mv2mae_jax.data.samples import evaluation_sample, finetuning_sample
from mv2mae_jax.data.splits import class_names, split_videos


class LabelledClip(TypedDict):
    """What Hugging Face's video classifiers take: a normalised clip and its class."""

    pixel_values: Float[torch.Tensor, "T C H W"]
    labels: int


class VideoDataset(Dataset[LabelledClip]):
    """A split's videos, each a view of an activity, in the order of the index.

    An item of the training split is a random clip, cropped, flipped and RandAugmented as the config
    says. What is random comes from PyTorch's generator: it differs between epochs and between
    workers, and repeats after `torch.manual_seed`. Of other splits it is the centre crop of the
    middle clip, the project's single-clip test.

    Attributes:
      videos: what the items are of.
      class_names: names of the labels.
    """

    def __init__(self, config: ConfigDict, split: str) -> None:
        """Reads the index; records are opened by the processes that read them.

        Args:
          config: as in configs/base.py; its `data` is used, with one crop an item.
          split: train, validation or test.

        Raises:
          InputError: the data set or its split cannot be used as configured.
        """
        self.videos = split_videos(config, split)
        self.class_names = class_names(config)
        self._index = load_index(config.data.data_dir, config.data.dataset)
        self._data = FrozenConfigDict({**config.data, "repeats": 1})
        self._training = split == "train"
        self._opened: dict[int, RecordSource] = {}

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, number: int) -> LabelledClip:
        """Video `number` as float32 `pixel_values` [T C H W], normalised, and `labels`.

        Raises:
          InputError: the records cannot be read; or they were read before a DataLoader forked this
            worker, which then has to be spawned (`multiprocessing_context="spawn"`).
        """
        video, records = self.videos[number], self._records()
        if self._training:
            seed = int(torch.randint(2**63 - 1, ()))
            sample = finetuning_sample(self._data, seed, records, 0, video)
            clip = sample["clips"][0]
        else:
            sample = evaluation_sample(self._data, 1, 1, records, 0, video)
            clip = sample["clips"][0, 0]
        pixels = self._normalized(torch.from_numpy(clip))
        return {"pixel_values": pixels, "labels": int(sample["label"][0])}

    def _normalized(self, clip: UInt8[torch.Tensor, "T H W C"]) -> Float[torch.Tensor, "T C H W"]:
        mean, std = torch.tensor(self._data.mean), torch.tensor(self._data.std)
        return ((clip / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()

    def _records(self) -> RecordSource:
        """The records as this process has opened them; a worker cannot read with its parent's."""
        process = os.getpid()
        if process not in self._opened:
            tune_process()
            self._opened = {process: RecordSource(self._index)}
        return self._opened[process]
