"""The map shows every video once, under its own action and camera."""

import cv2
import numpy as np
import pytest
from flax import nnx
from runs import save_run
from sklearn.metrics import silhouette_score

from configs.mannequin import get_config
from mv2mae_jax.data.splits import class_names, split_videos
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.evaluation.neighbours import Purity, neighbour_purity
from mv2mae_jax.evaluation.video_features import extract
from mv2mae_jax.model import build
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import split
from mv2mae_jax.visualize import embedding
from mv2mae_jax.visualize.__main__ import main
from mv2mae_jax.visualize.embedding import embed, embedding_figure


def test_what_is_apart_in_the_features_is_apart_on_the_map():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 15)
    features = 10 * np.eye(3)[labels] @ rng.normal(size=(3, 40)) + rng.normal(size=(45, 40))
    places = embed(features, perplexity=5.0)
    assert silhouette_score(places, labels) > 0.5
    np.testing.assert_array_equal(places, embed(features, perplexity=5.0))


def test_sixty_actions_have_sixty_marks_and_all_their_videos():
    rng = np.random.default_rng(0)
    labels, camera = np.repeat(np.arange(1, 61), 3), np.tile([0, 1, 2], 60)
    places = rng.normal(size=(180, 2))
    names = [f"_action {number}$" for number in range(61)]  # the first does not occur
    panels = {"action": (names, labels), "camera": (("1", "2", "3"), camera)}
    purity = Purity(0.25, 0.1, 10)
    figure = embedding_figure(places, panels, {"action": purity, "camera": purity}, "title")
    for axis, kinds, given in zip(figure.axes, (60, 3), (labels - 1, camera), strict=True):
        drawn = [marks.get_offsets() for marks in axis.collections]
        assert len(drawn) == kinds
        for kind, offsets in enumerate(drawn):
            np.testing.assert_allclose(offsets, places[given == kind])
        looks = {
            (tuple(marks.get_facecolor()[0]), marks.get_paths()[0].vertices.tobytes())
            for marks in axis.collections
        }
        assert len(looks) == kinds
        assert len(axis.get_legend().get_texts()) == kinds
        assert "25.0%" in axis.get_title() and "chance 10.0%" in axis.get_title()
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == names[1:]
    figure.canvas.draw()
    boxes = [axis.get_legend().get_window_extent() for axis in figure.axes]
    assert boxes[0].x1 < boxes[1].x0 and boxes[0].y1 < figure.axes[0].get_window_extent().y0


@pytest.fixture(params=["pretrained", "fine-tuned"])
def workdir(mannequin_dir, tmp_path, request):
    config = get_config("pretrain" if request.param == "pretrained" else "finetune")
    config.data.num_frames, config.data.image_size = 4, 16
    config.model.patch_size = (2, 8, 8)
    config.data.data_dir = str(mannequin_dir)
    model = (
        build.pretraining_model(config, nnx.Rngs(0))
        if request.param == "pretrained"
        else build.classifier(config, 12, nnx.Rngs(0))
    )
    save_run(tmp_path / "run", config, split(model)[1])
    return tmp_path / "run"


def test_the_command_draws(workdir, tmp_path, monkeypatch):
    """Of one camera, as a cross-view test has, there is nothing to tell apart by camera."""
    widths, drawn = {}, []

    def recorded(places, panels, purities, title):
        drawn.append((len(places), panels, purities))
        return embedding_figure(places, panels, purities, title)

    monkeypatch.setattr(embedding, "embedding_figure", recorded)
    for split_name in ("train", "test"):
        out = tmp_path / f"{split_name}.png"
        words = ["embedding", f"--workdir={workdir}", f"--out={out}", f"--split={split_name}"]
        assert main(words) == 0
        picture = cv2.imread(str(out))
        assert picture.std() > 10
        widths[split_name] = picture.shape[1]
    assert widths["train"] > 1.8 * widths["test"]
    (places, panels, purities), (_, of_test, _) = drawn
    assert panels.keys() == purities.keys() == {"action", "camera"} and set(of_test) == {"action"}
    parameters, config = load_parameters(workdir)
    videos = split_videos(config, "train")
    assert places == len(videos)
    _, features = extract(config, videos, [FrozenEncoder(config, parameters).encode])
    activities = np.array([video.activity.position for video in videos])
    for what, named in (
        ("action", [class_names(config)[video.activity.label] for video in videos]),
        ("camera", [video.view for video in videos]),
    ):
        names, labels = panels[what]
        assert [names[label] for label in labels] == named
        assert purities[what] == neighbour_purity(features, labels, activities, 10)


def test_too_few_clips_are_one_line(tmp_path, capsys):
    words = ["embedding", f"--workdir={tmp_path}", f"--out={tmp_path / 'map.png'}", "--clips=9"]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "--clips: '9' is not a number from 10 to 5000" in capsys.readouterr().err
