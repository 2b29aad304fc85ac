"""Curves show the numbers of metrics.jsonl, where and as smooth as they say."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.scores import Score
from mv2mae_jax.visualize.__main__ import main
from mv2mae_jax.visualize.curves import ROWS, curve, curves_figure, smoothed


def lines(count, **first):
    """Metrics that fall as 1 / step, every 10 steps."""
    return [
        {"step": step, **{name: value / step for name, value in first.items()}}
        for step in range(10, 10 * count + 1, 10)
    ]


PRETRAINED = lines(4, loss=8.0, self_view=4.0, self_view_target=2.0, learning_rate=1.0)
FINETUNED = lines(3, loss=9.0, accuracy=1.0)


def panel(title):
    return next(panel for row in ROWS for panel in row if panel.title == title)


def test_each_loss_is_in_its_own_panel():
    loss = curve(PRETRAINED, panel("pre-training: loss"))
    np.testing.assert_array_equal(loss.steps, [10, 20, 30, 40])
    np.testing.assert_allclose(loss.values, [0.8, 0.4, 8 / 30, 0.2])
    assert not len(curve(PRETRAINED, panel("fine-tuning: loss")).steps)
    np.testing.assert_allclose(
        curve(FINETUNED, panel("fine-tuning: loss")).values, [0.9, 0.45, 0.3]
    )


def test_smoothing_is_a_centred_mean_that_leaves_the_ends():
    assert smoothed(np.arange(39.0) ** 2).tolist() == (np.arange(39.0) ** 2).tolist()  # too few
    values = np.random.default_rng(0).normal(size=90)  # reaches two to each side
    expected = [values[i - r : i + r + 1].mean() for i, r in [(0, 0), (1, 1), (2, 2), (50, 2)]]
    np.testing.assert_allclose(smoothed(values)[[0, 1, 2, 50]], expected)
    np.testing.assert_allclose(smoothed(values)[-2:], [values[-3:].mean(), values[-1]])
    np.testing.assert_allclose(smoothed(np.arange(90.0)), np.arange(90))  # no lag


def test_what_is_drawn_is_what_was_logged():
    figure = curves_figure(
        {"one": PRETRAINED, "two": FINETUNED}, {"two": Score(0.5, 9, (0.4, 0.7))}
    )
    axes = {axis.get_title(): axis for axis in figure.axes}
    accuracy = next(title for title in axes if title.startswith("accuracy"))
    named = ["pre-training: loss", "fine-tuning: loss", accuracy, "self-view, target"]
    assert list(axes) == [*named, "learning rate"]  # and no panel of what nobody logs
    (raw, bold) = axes["self-view, target"].lines
    for line in (raw, bold):
        np.testing.assert_allclose(line.get_xydata()[:, 0], [10, 20, 30, 40])
        np.testing.assert_allclose(line.get_xydata()[:, 1], [0.2, 0.1, 2 / 30, 0.05])
    assert raw.get_alpha() < 1 < bold.get_linewidth()
    test = axes[accuracy].containers[0]
    assert test.lines[0].get_xydata().tolist() == [[30, 0.5]]
    (bar,) = test.lines[2][0].get_segments()
    np.testing.assert_allclose(bar, [[30, 0.4], [30, 0.7]])
    colours = {axes[x].lines[0].get_color() for x in ("fine-tuning: loss", accuracy)}
    assert len(colours) == 1 and axes["pre-training: loss"].lines[0].get_color() not in colours
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


@pytest.mark.parametrize("names", [("probed", "other"), ("other", "probed")])
def test_a_panel_says_what_is_dotted_where_a_run_has_it(names: tuple[str, str]):
    runs = {
        "probed": lines(3, self_view=1.0, probe_tokens=0.5, probe_chance=0.1),
        "other": lines(3, self_view=1.0, probe_tokens=0.4),
    }
    figure = curves_figure({name: runs[name] for name in names}, {})
    titles = [axis.get_title() for axis in figure.axes]
    assert "token probe; dotted: chance" in titles
    (other,) = curves_figure({"other": runs["other"]}, {}).axes[-1:]
    assert "dotted" not in other.get_title()


def test_what_no_training_logs_is_one_line():
    with pytest.raises(InputError, match="one has none of the metrics"):
        curves_figure({"one": lines(3, other=1.0)}, {})


def test_the_command_draws(tmp_path):
    for name, run in (("$one", PRETRAINED), ("_two^", FINETUNED)):
        (tmp_path / name).mkdir()
        text = "".join(json.dumps(line) + "\n" for line in run)
        (tmp_path / name / "metrics.jsonl").write_text(text)
    out = tmp_path / "pictures" / "curves.png"
    words = ["curves", "--workdir", str(tmp_path / "$one"), "--workdir", str(tmp_path / "_two^")]
    command = [sys.executable, "-m", "mv2mae_jax.visualize", *words]
    done = subprocess.run([*command, f"--out={out}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"curves drawn to {out}" in done.stdout
    assert cv2.imread(str(out)).std() > 10
    assert main([*words, f"--out={out.with_suffix('.svg')}"]) == 0
    assert "<svg" in out.with_suffix(".svg").read_text()


def test_a_run_that_has_logged_nothing_yet_is_one_line(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1')
    assert main(["curves", f"--workdir={tmp_path}", f"--out={tmp_path / 'out.png'}"]) == 1
    assert "metrics.jsonl has no line yet; a run writes one every" in capsys.readouterr().err
