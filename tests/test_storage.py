"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from mv2mae_jax.errors import InputError
from mv2mae_jax.storage import write_whole


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    with pytest.raises(InputError, match=r"results\.json cannot be written \(Is a directory\)"):
        write_whole(tmp_path / "results.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
