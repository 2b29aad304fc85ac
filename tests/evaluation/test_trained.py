"""With which config a trained model is measured."""

import logging

import pytest

from configs import mannequin, nucla
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.trained import as_trained


def test_the_model_stays_and_the_command_chooses_how_it_is_tested(caplog):
    trained, config = mannequin.get_config(), mannequin.get_config("probe")
    trained.data.stride, trained.data.train_fraction = 3, 0.5
    config.data.data_dir, config.data.workers, config.evaluation.clips = "elsewhere", 3, 7
    config.probe.train_videos = 77  # other than while it was trained
    config.model.dtype, config.model.drop_path = "bfloat16", 0.1
    with caplog.at_level(logging.INFO, "mv2mae_jax"):
        merged = as_trained(config, trained, "runs/x")
    assert (merged.data.data_dir, merged.data.workers) == ("elsewhere", 3)
    assert (merged.evaluation.clips, merged.probe.train_videos) == (7, 77)
    # A probe of what was pre-trained on half of the data is fitted to as many labels as others.
    assert (merged.data.stride, merged.data.train_fraction) == (3, 1.0)
    assert merged.model.to_json() == trained.model.to_json()
    (said,) = caplog.messages
    assert said == (
        "as runs/x was trained: model.dtype=float32 (not bfloat16), "
        f"data.stride=3 (not {config.data.stride})"
    )


def test_of_another_data_set_its_own_splits_are_taken():
    trained, config = mannequin.get_config("protocol=xsub"), nucla.get_config("probe")
    trained.data.test_subjects, trained.data.num_frames = ("7",), 8
    config.data.train_fraction = 0.1
    merged = as_trained(config, trained, "runs/x")
    assert (merged.data.dataset, merged.data.protocol) == ("nucla", "xview")
    assert (merged.data.test_subjects, merged.data.train_fraction) == ((), 0.1)
    assert merged.data.num_frames == 8


def test_a_validation_split_that_the_run_has_not_is_said():
    trained, config = mannequin.get_config(), mannequin.get_config("probe")
    config.data.evaluate_on, config.data.validation_subjects = "validation", ("8",)
    with pytest.raises(InputError, match="runs/x was trained on all subjects"):
        as_trained(config, trained, "runs/x")
    other = nucla.get_config("probe")
    other.data.evaluate_on = "validation"
    with pytest.raises(InputError, match=r"command sets no validation split; .* or config\.data"):
        as_trained(other, trained, "runs/x")
    trained.data.validation_subjects = ("7",)
    assert as_trained(config, trained, "runs/x").data.validation_subjects == ("7",)


def test_the_same_data_by_another_protocol_is_refused():
    trained, config = mannequin.get_config(), mannequin.get_config("probe,protocol=xsub")
    with pytest.raises(InputError, match=r"runs/x was trained with data.protocol=xview.*xsub"):
        as_trained(config, trained, "runs/x")
