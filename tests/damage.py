"""Records that cannot be read."""

import shutil
from pathlib import Path

from mv2mae_jax.data.records import load_index


def spoil(shard: Path, activity: str) -> None:
    """Changes a byte of every record of an activity."""
    content, name = shard.read_bytes(), activity.encode()
    assert name in content
    shard.write_bytes(content.replace(name, bytes([name[0] ^ 0xFF]) + name[1:]))


def damaged_mannequin(data_dir: Path, into: Path, activity: str) -> str:
    """A copy of a data directory in which an activity of the mannequin cannot be read."""
    copy = Path(shutil.copytree(data_dir, into))
    (shard,) = Path(load_index(copy, "mannequin").folder).glob("*.array_record*")
    spoil(shard, activity)
    return str(copy)
