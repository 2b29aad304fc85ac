"""The picture of motion weights has a row for every temperature, of its own weights."""

import numpy as np
import pytest

from configs.mannequin import get_config
from mv2mae_jax.visualize.motion import motion_rows


def test_the_higher_the_temperature_the_more_tubelets_are_bright():
    config = get_config()
    config.data.num_frames, config.data.image_size = 4, 16
    config.model.patch_size = (2, 4, 4)
    config.objective.temperature = 5.0
    clip = np.full((4, 16, 16, 3), 255, np.uint8)
    clip[1, :4, :4] = 0  # the first tubelet moves most, the second half as much
    clip[1, :4, 4:8] = 128
    shown, *rows = motion_rows(config, clip).items()
    assert shown[0] == "input" and shown[1] == pytest.approx(clip / 255)
    labels = [label.split("\n") for label, _ in rows]
    assert [label[0] for label in labels] == ["τ = 1", "τ = 5", "τ = 25"]
    spread = [int(label[1].split(" of ")[0]) for label in labels]
    assert spread == sorted(spread) and spread[0] == 1 and spread[2] > 10
    assert all(label[1].endswith(" of 32") for label in labels)
    second = [row[0, 0, 4, 0] / row[0, 0, 0, 0] for _, row in rows]  # of frames that are white
    assert second == sorted(second) and second[2] > 2 * second[0]
    infinite = motion_rows(config, clip, [np.inf])
    assert infinite.keys() == {"input", "τ = inf\n32 of 32\ntubelets"}
    assert infinite["τ = inf\n32 of 32\ntubelets"] == pytest.approx(clip / 255)
