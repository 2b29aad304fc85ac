"""The benchmark measures the loader with and without RandAugment, and each of its operations."""

from mv2mae_jax.data.randaugment import OPERATIONS


def test_what_clips_of_finetuning_cost(measured):
    report, _ = measured("augmentation")
    clips = report["processor_seconds_per_clip"]
    assert clips.keys() == {"whole, no RandAugment", "whole, RandAugment", *OPERATIONS}
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in clips.values())
