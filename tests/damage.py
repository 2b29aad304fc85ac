"""Records that cannot be read."""

import shutil
from pathlib import Path

from mv2mae_jax.data.records import load_index


def copied(data_dir: Path, dataset: str, into: Path) -> Path:
    """A copy of a data set that a test may damage: the folder of its version.

    Args:
      data_dir: where it is.
      dataset: its name.
      into: the data directory of the copy.
    """
    folder = Path(load_index(data_dir, dataset).folder)
    return shutil.copytree(folder, into / dataset / folder.name)


def spoil(shard: Path, activity: str) -> None:
    """Changes a byte of every record of an activity."""
    content, name = shard.read_bytes(), activity.encode()
    assert name in content
    shard.write_bytes(content.replace(name, bytes([name[0] ^ 0xFF]) + name[1:]))


def damaged_mannequin(data_dir: Path, into: Path, activity: str) -> str:
    """A copy of a data directory in which an activity of the mannequin cannot be read."""
    (shard,) = copied(data_dir, "mannequin", into).glob("*.array_record*")
    spoil(shard, activity)
    return str(into)
