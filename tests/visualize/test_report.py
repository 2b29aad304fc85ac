"""The page of a run: what it says is what the run did, and what a browser does with it."""

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from playwright.sync_api import Browser, Page, expect
from runs import save_run
from tested import results, write_predictions
from videos import moving_pattern, write_video

from configs import base, mannequin, ntu60
from mv2mae_jax import run_files
from mv2mae_jax.losses import token_weights
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS, Variant
from mv2mae_jax.prepare import main as prepare
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import split
from mv2mae_jax.visualize import report
from mv2mae_jax.visualize.__main__ import main as visualize
from mv2mae_jax.visualize.reconstruct import masked_inputs, reconstruct
from mv2mae_jax.visualize.report import clips, page, run
from mv2mae_jax.visualize.training_clips import first_clips

# Two blocks and heads, so that there is something to choose, and little to compile.
SMALL = Variant(width=32, depth=1, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=2)
GRID = (2, 4, 4)
HOSTILE = "</script><img src=x onerror='alert(1)'>\"&amp;<!-- é😀"
LABELS = (HOSTILE, "walk")
VIEWS = ("<i>left</i>", "middle", "right")
INFERNO_S_LAST = (252, 255, 164)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four activities seen by three cameras; noise keeps frames from being compressed too well."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for activity in range(4):
        for view in VIEWS:
            frames = moving_pattern(32, 128, 160, seed=len(rows))
            noisy = [frame // 2 + rng.integers(0, 16, frame.shape, np.uint8) for frame in frames]
            write_video(folder / f"{len(rows)}.mp4", noisy)
            row = (f"{activity}{HOSTILE}", view, f"{len(rows)}.mp4", LABELS[activity % 2])
            rows.append(row)
    table = io.StringIO()
    csv.writer(table).writerows([("activity", "view", "path", "label"), *rows])
    (folder / "manifest.csv").write_text(table.getvalue())
    words = [f"--manifest={folder / 'manifest.csv'}", "--name=mine", f"--data-dir={folder}"]
    assert prepare(["manifest", *words, "--short-side=128"]) == 0
    return folder


def small(data_dir: Path) -> ConfigDict:
    config = mannequin.get_config()
    config.data.data_dir, config.data.dataset, config.data.protocol = str(data_dir), "mine", "all"
    config.data.num_frames, config.data.image_size, config.data.num_views = 4, 32, 3
    config.model.patch_size = (2, 8, 8)
    config.objective.targets = "normalized"
    return config


def save(workdir: Path, config: ConfigDict, model: nnx.Module) -> None:
    save_run(workdir, config, split(model)[1])


@pytest.fixture(scope="module")
def config(data_dir: Path) -> ConfigDict:
    return small(data_dir)


@pytest.fixture(scope="module")
def workdir(
    config: ConfigDict, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Path]]:
    """A pre-training run of random values, and its page."""
    folder = tmp_path_factory.mktemp("runs") / "<b>run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "mini", SMALL)
        save(folder, config, build.pretraining_model(config, nnx.Rngs(1)))
        lines = [{"step": s, "loss": 4.0 / s, "self_view": 1.0 / s} for s in (1, 2, 4)]
        lines[1] |= {"probe_tokens": 0.25}
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text + '{"step": 5, "lo')  # killed while writing
        out = folder.parent / "pages" / "report.html"
        assert visualize(["report", f"--workdir={folder}", f"--out={out}", "--samples=2"]) == 0
        yield folder, out


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page; in the end, nothing was complained of and nothing asked for."""
    contexts, complaints, requests = [], [], []

    def open_page(file: Path, **options: object) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.on("request", lambda request: requests.append(request.url))
        context.on("console", lambda message: complaints.append(message.text))
        context.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        opened = context.new_page()
        opened.goto(file.as_uri())
        opened.wait_for_selector("#readout div, #reason:not([hidden])")
        return opened

    yield open_page
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in requests if url.startswith("file:")]) == len(contexts)
    for context in contexts:
        context.close()


def canvas(opened: Page, name: str) -> np.ndarray:
    """Its pixels [H W 3]."""
    url = opened.evaluate("name => document.getElementById(name).toDataURL('image/png')", name)
    encoded = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(float)


def click(opened: Page, row: int, column: int) -> None:
    box = opened.locator("#target").bounding_box()
    assert box
    x, y = (column + 0.5) * box["width"] / GRID[2], (row + 0.5) * box["height"] / GRID[1]
    opened.locator("#target").click(position={"x": x, "y": y})


def state(opened: Page, name: str) -> object:
    return opened.evaluate("name => explorer.state[name]", name)


def centre(opened: Page, name: str, token: int) -> np.ndarray:
    """Mean colour of the middle of a tubelet."""
    pixels = canvas(opened, name)
    side = len(pixels) // GRID[1]
    _, row, column = np.unravel_index(token, GRID)
    middle = slice(side // 4, -side // 4)
    box = pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
    return box[middle, middle].mean(axis=(0, 1))


@pytest.fixture(scope="module")
def truth(config: ConfigDict, workdir: tuple[Path, Path]) -> tuple[np.ndarray, object, np.ndarray]:
    """Clips of the page, their masks at the trained ratio, and the model's own attention maps."""
    definition, parameters = split(build.pretraining_model(config, nnx.Rngs(1)))
    shown = np.stack([clip.views for clip in first_clips(config, 2)])
    patches, mask = masked_inputs(config, shown)
    return (
        shown,
        mask,
        np.asarray(jax.jit(definition.bind(parameters).cross_attention)(patches, mask)),
    )


def test_what_is_clicked_is_what_the_model_does(open_page, workdir, truth) -> None:
    _, mask, maps = truth
    opened = open_page(workdir[1])
    order = np.concatenate([mask.visible, mask.masked], axis=-1)[0, 0]
    visible = mask.visible.shape[-1]
    for place in (0, visible + 3):  # a visible tubelet of the target and a masked one
        token = int(order[place])
        time, row, column = np.unravel_index(token, GRID)
        opened.locator("#frame").fill(str(2 * time))
        before = canvas(opened, "target"), canvas(opened, "source-0")
        click(opened, row, column)
        assert state(opened, "token") == token
        said = opened.locator("#readout").inner_text()
        assert ("visible\ngiven, not predicted" in said) == (place < visible)
        for block in (0, 1, None):
            for head in (0, 1, None):
                for name, one in (("block", block), ("head", head)):
                    value = "mean" if one is None else one
                    opened.locator(f"input[name={name}][value='{value}']").check(force=True)
                shown = np.array(opened.evaluate("explorer.attention()"))
                pick = (slice(None) if one is None else [one] for one in (block, head))
                blocks, heads = pick
                looks = maps[0, 0][blocks][:, heads][:, :, place].mean(axis=(0, 1))
                for view, weights in enumerate(looks.reshape(2, visible)):
                    places = np.asarray(mask.visible[0, view + 1])
                    np.testing.assert_allclose(shown[view, places], weights, atol=0.6 / 255 / 10)
                    hidden = np.delete(shown[view], places)
                    assert np.isnan(hidden).all()
        after = canvas(opened, "target"), canvas(opened, "source-0")
        assert all((x != y).any() for x, y in zip(before, after, strict=True))


def test_the_overlay_is_brightest_at_the_peak_and_veils_what_is_masked(
    open_page, workdir, truth
) -> None:
    opened = open_page(workdir[1])
    opened.keyboard.press("j")
    weights = np.array(opened.evaluate("explorer.attention()"))
    view, token = np.unravel_index(np.nanargmax(weights), weights.shape)
    time = np.unravel_index(token, GRID)[0]
    assert state(opened, "frame") == 2 * time
    found = centre(opened, f"source-{view}", token)
    assert (found >= 0.75 * np.array(INFERNO_S_LAST) - 3).all()
    now = [t for t in range(np.prod(GRID)) if np.unravel_index(t, GRID)[0] == time]
    for other in now:
        if np.isnan(weights[view, other]):
            assert (centre(opened, f"source-{view}", other) <= 0.18 * 255 + 0.82 * 30 + 3).all()
    opened.keyboard.press("a")
    frames = truth[0][0, view + 1, 2 * time]
    plain = canvas(opened, f"source-{view}")[7::14, 7::14]  # 14 pixels of the canvas for one
    assert np.abs(plain - frames.astype(float)).mean() < 6  # lossy


def test_the_overlay_is_of_the_scale_beside_it(open_page, workdir, truth, config) -> None:
    """One colour bar, one weight: in every source view, and in the target's motion weights."""
    opened = open_page(workdir[1])
    inferno = matplotlib.colormaps["inferno"]

    def painted(name: str, token: int, share: float) -> None:
        """A tubelet has the colour of its share, as opaque as it is large, over a dark picture."""
        opacity = 0.15 + 0.6 * share
        least = opacity * 255 * np.array(inferno(round(255 * share))[:3])
        found = centre(opened, name, token)
        assert (found >= least - 3).all() and (found <= least + (1 - opacity) * 255 + 3).all()

    weights = np.array(opened.evaluate("explorer.attention()"))
    most, compared = np.nanmax(weights), 0
    for frame in (0, 2):
        opened.locator("#frame").fill(str(frame))
        for view, token in np.argwhere(~np.isnan(weights)):
            if np.unravel_index(token, GRID)[0] == frame // 2:
                painted(f"source-{view}", token, weights[view, token] / most)
                compared += 1
    assert compared == (~np.isnan(weights)).sum()
    assert f"{100 * most:.1f} %" in opened.locator("#source-scale-0").inner_text()
    assert f"{100 * most:.1f} %" in opened.locator("#source-scale-1").inner_text()
    opened.keyboard.press("7")
    shown, mask, _ = truth
    target = build.normalized(config, jnp.asarray(shown[:, 0]))
    motion = np.asarray(token_weights(config, target, mask.masked[:, 0]))[0]
    opened.locator("#frame").fill("0")
    outlined = state(opened, "token")
    for token in set(range(16)) - {outlined}:
        painted("target", token, motion[token] / motion.max())
    assert f"{motion.max() / motion.mean():.2f}" in opened.locator("#target-scale").inner_text()


def test_target_pictures_are_the_reconstructions(open_page, workdir, truth, config) -> None:
    shown, mask, _ = truth
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(1)))
    pictures = reconstruct(config, parameters, shown)
    opened = open_page(workdir[1])
    opened.locator("#frame").fill("1")
    click(opened, 0, 0)
    edge = slice(10, None)  # without the outline of the first tubelet
    for key, picture in (("1", "input"), ("2", "masked"), ("3", "self_view"), ("4", "cross_view")):
        opened.keyboard.press(key)
        expected = 255 * getattr(pictures, picture)[0, 0, 1]
        found = canvas(opened, "target")[7::14, 7::14]
        assert np.abs(found - expected)[edge, edge].mean() < 6, picture
    error = np.abs(pictures.cross_view[0, 0, 1] - pictures.input[0, 0, 1]).mean(axis=-1)
    opened.keyboard.press("6")
    brightness = canvas(opened, "target")[7::14, 7::14].sum(axis=-1)
    assert np.corrcoef(brightness[edge, edge].ravel(), error[edge, edge].ravel())[0, 1] > 0.9
    opened.keyboard.press("7")
    target = build.normalized(config, jnp.asarray(shown[:, 0]))
    weights = np.asarray(token_weights(config, target, mask.masked[:, 0]))[0]
    assert f"{weights[0] / weights.mean():.2f} ×" in opened.locator("#readout").inner_text()  # noqa: RUF001


def test_a_higher_ratio_masks_more(open_page, workdir) -> None:
    opened = open_page(workdir[1])
    opened.keyboard.press("2")
    hidden = []
    for ratio in range(3):
        opened.locator("#ratio").fill(str(ratio))
        opened.wait_for_timeout(200)
        hidden.append(np.mean((canvas(opened, "target") == 128).all(axis=-1)))
    assert hidden[0] < hidden[1] < hidden[2]
    assert opened.locator("#ratio-value").inner_text() == "90 %"
    opened.keyboard.press("[")
    expect(opened.locator("#ratio-value")).to_have_text("70 %")


def test_by_keyboard_alone(open_page, workdir) -> None:
    opened = open_page(workdir[1])
    frame = int(state(opened, "frame"))
    opened.keyboard.press("ArrowRight")
    assert state(opened, "frame") == (frame + 1) % 4
    opened.keyboard.press("Space")
    expect(opened.locator("#play")).to_have_text("Pause")
    # Not wait_for_function: it evaluates strings, which the page forbids, unless true at once.
    expect(opened.locator("#frame")).not_to_have_value(str((frame + 1) % 4))
    opened.keyboard.press("Space")
    assert opened.locator("#play").inner_text() == "Play"
    opened.locator("input[name=show]:checked").focus()
    opened.keyboard.press("Tab")  # to the target
    assert opened.evaluate("document.activeElement.id") == "target"
    width = opened.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert width == "3px"
    opened.keyboard.press("PageUp")
    for _ in range(4):
        opened.keyboard.press("ArrowUp")
        opened.keyboard.press("ArrowLeft")
    assert (state(opened, "token"), state(opened, "frame")) == (0, 0)
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("PageDown")
    assert (state(opened, "token"), state(opened, "frame")) == (16 + 5, 2)
    opened.keyboard.press("b")
    opened.keyboard.press("h")
    assert (state(opened, "block"), state(opened, "head")) == (0, 0)
    opened.keyboard.press("n")
    expect(opened.locator("#sample")).to_have_value("1")


def test_keys_that_come_before_a_sample_is_there_break_nothing(open_page, workdir) -> None:
    """As while playing, or by a quick hand: the page would complain."""
    opened = open_page(workdir[1])
    pressed = """keys => {
        const events = keys.map((key) => new KeyboardEvent("keydown", { key, bubbles: true }));
        events.forEach((event) => document.getElementById("target").dispatchEvent(event));
        return document.getElementById("readout").innerText;
    }"""
    for keys in (["n", "ArrowRight", "j"], ["p", "PageDown", "ArrowUp", "j"]):
        assert "NaN" not in opened.evaluate(pressed, keys)
        expect(opened.locator("#sample")).to_have_value("1" if keys[0] == "n" else "0")
        assert state(opened, "token") is not None
        assert "NaN" not in opened.locator("#readout").inner_text()


def test_keys_that_some_keyboards_have_behind_alt_gr(open_page, workdir) -> None:
    opened = open_page(workdir[1])
    ratio = state(opened, "ratio")
    press = """changes => document.body.dispatchEvent(new KeyboardEvent("keydown", {
        key: "]", bubbles: true, ctrlKey: true, altKey: true, ...changes }))"""
    opened.evaluate(press, {})
    assert state(opened, "ratio") == ratio  # of the browser's own
    opened.evaluate(press, {"modifierAltGraph": True})
    assert state(opened, "ratio") == ratio + 1


def test_labels_are_text_and_the_sample_is_named(open_page, workdir, config) -> None:
    opened = open_page(workdir[1])
    samples = first_clips(config, 2)
    options = opened.locator("#sample option").all_text_contents()
    assert options == [f"{sample.action} · {sample.activity}" for sample in samples]
    assert any(HOSTILE in option for option in options)
    captions = opened.locator("figcaption").all_text_contents()[:3]
    for caption, view in zip(captions, samples[0].draw.views, strict=True):
        assert f" · {view} · " in caption
    assert opened.locator("h1").inner_text() == "Pre-training · <b>run"
    assert opened.locator("img, i:text('left')").count() == 0


def test_it_follows_the_system_s_theme_and_its_own_button(open_page, workdir) -> None:
    opened = open_page(workdir[1], color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = opened.evaluate(background)
    opened.locator("#theme").click()
    light = opened.evaluate(background)
    assert (dark, light) == ("rgb(18, 20, 23)", "rgb(247, 247, 245)")
    assert open_page(workdir[1], color_scheme="light").evaluate(background) == light


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page, workdir) -> None:
    opened = open_page(workdir[1], viewport={"width": 360, "height": 740}, has_touch=True)
    opened.locator("summary").tap()
    assert opened.evaluate("document.documentElement.scrollWidth") == 360
    for offset, token in ((5, 0), (150, 5)):  # 306 pixels for 4 tubelets
        opened.locator("#target").tap(position={"x": offset, "y": offset})
        assert int(state(opened, "token")) % 16 == token


def test_curves_show_the_values_of_a_step(open_page, workdir) -> None:
    opened = open_page(workdir[1])
    loss = opened.locator("#curves figure", has_text="Loss").first
    assert " ".join(loss.locator(".legend").inner_text().split()) == "step 4 loss 1 self-view 0.25"
    loss.locator("svg").focus()
    for _ in range(2):
        opened.keyboard.press("ArrowLeft")
    assert " ".join(loss.locator(".legend").inner_text().split()) == "step 1 loss 4 self-view 1"
    assert loss.locator("circle").count() == 2
    box = loss.locator("svg").bounding_box()
    assert box
    loss.locator("svg").hover(position={"x": box["width"] - 12, "y": 20})
    assert "step 4" in loss.locator(".legend").inner_text()


def test_a_fine_tuning_run(open_page, config, tmp_path: Path) -> None:
    config = config.copy_and_resolve_references()
    config.task = "finetune"
    folder = tmp_path / "finetune"
    save(folder, config, build.classifier(config, 2, nnx.Rngs(0)))
    found = results(0.75, per_class_accuracy={HOSTILE: 1.0, "walk": 0.5})
    found["count"]["per_class_accuracy"] = {HOSTILE: 2, "walk": 2}
    (folder / "results.json").write_text(json.dumps(found))
    names = ("never seen", HOSTILE, "walk")
    write_predictions(folder, np.array([1, 1, 2, 1]), np.array([1, 1, 2, 2]), names)
    out = tmp_path / "report.html"
    assert visualize(["report", f"--workdir={folder}", f"--out={out}"]) == 0
    opened = open_page(out)
    assert "no decoders" in opened.locator("#reason").inner_text()
    assert not opened.locator("#viewer").is_visible()
    shown = opened.locator("#results").inner_text()
    assert "70.0 % to 85.0 % (95 %), of 100" in shown
    cells = opened.locator(".matrix tbody tr").all()
    assert [cell.inner_text().split("\t") for cell in cells] == [
        [HOSTILE, "2", ""],
        ["walk", "1", "1"],
    ]
    assert opened.locator(".matrix thead").inner_text().count(HOSTILE) == 1


def nothing_shown() -> dict[str, Any]:
    shown = dict.fromkeys(("name", "task", "probe", "results"), "")
    return shown | {key: [] for key in ("facts", "headlines", "panels", "config")}


def test_small_accuracies_have_an_axis_that_tells_them_apart(open_page, tmp_path: Path) -> None:
    points = [[1, 0.004], [2, 0.019]]
    panel = {"title": "Accuracy", "unit": "percent", "log": False}
    panel["series"] = [{"name": "of training clips", "points": points}]
    out = tmp_path / "report.html"
    shown = nothing_shown() | {"panels": [panel], "confusion": None}
    out.write_text(page.html({"run": shown, "explorer": {"reason": "none"}}))
    labels = open_page(out).locator("svg text").all_text_contents()
    ticks = [label for label in labels if label.endswith("%")]
    assert len(ticks) >= 3 and len(set(ticks)) == len(ticks) and "1.5 %" in ticks


def test_a_log_of_every_step_fits_in_a_page() -> None:
    lines = [{"step": float(step), "loss": 1 / step} for step in range(1, 70_002)]
    ((panel,), (one,)) = run.panels(lines), run.panels(lines[:1])
    (series,) = panel["series"]
    assert 1000 < len(series["points"]) <= run.MOST_POINTS
    assert series["points"][-1] == [70_001, 1 / 70_001]
    assert len(set(np.diff([step for step, _ in series["points"]]))) == 1
    assert one["series"][0]["points"] == [[1, 1]]


def test_samples_of_a_run_that_has_none_to_explore(config, tmp_path, capsys) -> None:
    save(tmp_path, config, build.classifier(config, 2, nnx.Rngs(0)))
    words = ["report", f"--workdir={tmp_path}", f"--out={tmp_path / 'report.html'}"]
    assert visualize([*words, "--samples=2"]) == 1
    assert "--samples=2; This run has no decoders" in capsys.readouterr().err


def test_a_page_made_in_the_runs_folder_names_it(workdir, monkeypatch) -> None:
    monkeypatch.chdir(workdir[0])
    assert run.summary(".", *reversed(load_parameters(".")))["name"] == workdir[0].name


def test_a_run_of_single_views_has_no_cross_view_term(config) -> None:
    config = config.copy_and_resolve_references()
    for method, says in (("mv2mae", True), ("single_view", False)):
        base.set_method(config, method)
        parameters = split(build.pretraining_model(config, nnx.Rngs(0)))[1]
        objective = dict(run.facts(config, parameters, []))["Objective"]
        assert ("weight of the cross-view term 1" in objective) is says


def test_names_of_classes_are_words_on_a_phone(open_page, tmp_path: Path) -> None:
    shown = nothing_shown()
    classes = [f"stretching {number}" for number in range(12)]
    shown["confusion"] = {"classes": classes, "counts": np.ones((12, 12), int).tolist()}
    out = tmp_path / "report.html"
    out.write_text(page.html({"run": shown, "explorer": {"reason": "none"}}))
    opened = open_page(out, viewport={"width": 390, "height": 844})
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
    for name in opened.locator(".matrix tbody th").all():
        box = name.bounding_box()
        assert box and box["width"] > 60 and box["height"] < 60  # two lines at most
    caption = opened.get_by_text("Which class is taken for which").bounding_box()
    assert caption and caption["x"] + caption["width"] <= 390


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.jsonl", '{"loss": 1}\n', "line 1 of"),
        ("metrics.jsonl", "[]\n", "line 1 of"),
        ("probe.json", '{"num_videos": 4, "chance": 0.5}', "probe.json is damaged"),
        (
            "probe.json",
            '{"num_videos": 4, "chance": 0.5, "tokens_after": 0.5, "split": [1]}',
            "probe.json is damaged",
        ),
        ("results.json", '{"top1_single_view": 1.0}', "results.json is damaged"),
        ("results.json", json.dumps(results(0.5, split=0)), "results.json is damaged"),
        ("results.json", json.dumps(results(0.5, interval_95={})), "results.json is damaged"),
        ("predictions.csv", "a,b\n1,2\n", "predictions.csv is damaged"),
        ("predictions.csv", "label,predicted\nwalk,walk\nwalk", "predictions.csv is damaged"),
    ],
)
def test_damaged_files_are_named(config, tmp_path, capsys, name, content, said) -> None:
    config = config.copy_and_resolve_references()
    save(tmp_path, config, build.classifier(config, 2, nnx.Rngs(0)))
    (tmp_path / name).write_text(content)
    words = ["report", f"--workdir={tmp_path}", f"--out={tmp_path / 'report.html'}"]
    assert visualize(words) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and said in message and message.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [("--samples=0", "not a number from 1"), ("--out=x.png", "its suffix is one of .html")],
)
def test_wrong_options_are_wrong_usage(tmp_path, capsys, option, said) -> None:
    words = ["report", f"--workdir={tmp_path}", f"--out={tmp_path / 'report.html'}", option]
    with pytest.raises(SystemExit, match="2"):
        visualize(words)
    assert said in capsys.readouterr().err


def test_a_page_that_is_too_large_is_not_written(workdir, tmp_path, capsys, monkeypatch) -> None:
    """Pictures count, not only attention; if no number is asked for, as many as fit are shown."""
    out = tmp_path / "report.html"
    words = ["report", f"--workdir={workdir[0]}", f"--out={out}"]
    assert visualize([*words, "--samples=3"]) == 0
    size = out.stat().st_size
    monkeypatch.setattr(report, "PAGE_BYTES", size)
    assert visualize([*words, "--samples=3"]) == 0  # exactly fits
    out.unlink()
    monkeypatch.setattr(report, "PAGE_BYTES", size - 1)
    assert visualize([*words, "--samples=3"]) == 1
    assert "--samples=3; of this run 2 fit in a page" in capsys.readouterr().err
    assert not out.exists()
    assert visualize(words) == 0
    assert out.stat().st_size < size
    monkeypatch.setattr(report, "PAGE_BYTES", 1000)
    assert visualize(words) == 1
    assert "0 fit in a page" in capsys.readouterr().err


def test_of_imported_weights_nothing_is_made_up(workdir, tmp_path, capsys) -> None:
    parameters, config = load_parameters(workdir[0])
    config.data.dataset = config.data.protocol = ""
    save_run(tmp_path, config, parameters)
    shown = run.summary(tmp_path, config, parameters)
    assert shown["task"] == "Imported weights"
    assert [name for name, _ in shown["facts"]] == [
        *("Data", "Clips", "Encoder", "Parameters", "Decoders")
    ]
    assert shown["facts"][0][1] == "not known"
    assert visualize(["report", f"--workdir={tmp_path}", f"--out={tmp_path / 'out.html'}"]) == 0
    assert "do not say which data they were trained on" in (tmp_path / "out.html").read_text()
    words = ["reconstruction", f"--workdir={tmp_path}", f"--out={tmp_path / 'out.png'}"]
    assert visualize(words) == 1
    assert "holds imported weights that do not say" in capsys.readouterr().err


def test_pictures_of_more_activities_than_there_are(workdir, tmp_path, capsys) -> None:
    for picture, suffix in (("motion", "png"), ("report", "html")):
        words = [picture, f"--workdir={workdir[0]}", "--samples=5"]
        assert visualize([*words, f"--out={tmp_path / 'out'}.{suffix}"]) == 1
        message = "--samples=5; the run is trained on 4: name 1 to so many"
        assert message in capsys.readouterr().err


def test_json_cannot_end_its_element() -> None:
    data = {HOSTILE: ["<!--<script>", "\ud800", "\u2028", 1.5]}
    text = page.embedded_json(data)
    assert not set("<>&\u2028") & set(text) and text.isascii()
    assert json.loads(text) == data
    with pytest.raises(ValueError):
        page.embedded_json(float("nan"))


def test_bytes_of_a_map_give_its_weights() -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(40, 0.2), (3, 5)).astype(np.float32)
    levels, largest = clips.quantized(weights)
    assert (levels.max(axis=-1) == 255).all()
    again = levels / 255 * largest[..., None]
    assert (np.abs(again - weights) <= largest[..., None] / 509).all()


def test_the_paper_s_models_fit_with_all_heads() -> None:
    config = ntu60.get_config()
    for name in ("small", "base", "large"):
        config.model.variant = name
        expected = VARIANTS[name].decoder_depth, VARIANTS[name].decoder_heads
        assert clips.attention_detail(config, clips.mask_ratios(config)) == expected
    for image_size, expected in ((192, (4, 1)), (224, (1, 1))):  # means over heads, and over all
        config.data.image_size = image_size
        assert clips.attention_detail(config, clips.mask_ratios(config)) == expected
    config.data.num_frames = 64
    assert clips.attention_detail(config, clips.mask_ratios(config)) is None
    shown = clips.explorer(config, {"self_view_decoder.x": 0, "cross_view_decoder.x": 0}, None)
    assert "6,272 tubelets to 1 views does not fit in a page" in shown["reason"]


def test_ratios_are_possible_ones() -> None:
    config = mannequin.get_config()
    config.masking.ratio = 0.8
    assert clips.mask_ratios(config) == [0.5, 0.7, 0.8, 0.9]
    config.masking.kind, config.data.image_size = "tube", 14  # one place: all or nothing
    assert clips.mask_ratios(config) == []


@pytest.mark.parametrize("metrics", [None, "", '{"step": 1, "lo'])
def test_a_run_that_has_no_findings_yet(config, tmp_path, metrics) -> None:
    """Training may not have come to its first line, nothing is probed and nothing tested."""
    if metrics is not None:
        (tmp_path / "metrics.jsonl").write_text(metrics)
    parameters = split(build.classifier(config, 2, nnx.Rngs(0)))[1]
    shown = run.summary(tmp_path, config, parameters)
    assert shown["headlines"] == shown["panels"] == []
    assert shown["probe"] is shown["results"] is shown["confusion"] is None
    assert any("no step logged" in text for _, text in shown["facts"])


def test_what_one_looks_at_first(config, tmp_path) -> None:
    """The last of each number that is logged, of the probe and of the test."""
    lines = [{"step": 2, "loss": 3.0, "probe_tokens": 0.25}, {"step": 4, "loss": 2.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    probed = {"split": "validation", "num_videos": 8, "chance": 0.5}
    probed |= {"tokens_before": 0.625, "tokens_after": 0.875}
    (tmp_path / "probe.json").write_text(json.dumps(probed))
    found = results(0.75, per_class_accuracy={"walk": 1.0})
    found["count"]["per_class_accuracy"] = {"walk": 2}
    (tmp_path / "results.json").write_text(json.dumps(found))
    parameters = split(build.classifier(config, 2, nnx.Rngs(0)))[1]
    shown = run.summary(tmp_path, config, parameters)
    values = [value for _, value, _ in shown["headlines"]]
    assert values == [4, 2.0, 0.25, 0.875, 0.5, 0.75, 0.75, 0.75]
    assert shown["probe"]["videos"] == "8 validation videos"
    assert [x for _, x in shown["probe"]["rows"]] == [0.5, 0.625, 0.875]
    assert shown["results"]["perClass"] == [["walk", 1.0, 2]]


def test_a_confusion_has_a_row_for_the_truth() -> None:
    """Two of class b are taken for a, nothing is of class c."""
    tested = run_files.Tested(
        videos=[("1", "left")] * 3,
        names=("a", "b", "c"),
        labels=np.array([0, 1, 1]),
        predicted=np.array([0, 0, 0]),
        single_clip=np.array([0, 0, 0]),
        probabilities=np.zeros((3, 3)),
    )
    assert run.confusion(tested) == {"classes": ["a", "b"], "counts": [[1, 0], [2, 0]]}


@pytest.mark.slow  # ViT-S on a CPU
def test_at_the_paper_s_shape_it_is_under_15_megabytes(open_page, data_dir, tmp_path) -> None:
    config = ntu60.get_config()
    config.data.data_dir, config.data.dataset, config.data.protocol = str(data_dir), "mine", "all"
    config.model.dtype = "float32"
    save(tmp_path, config, build.pretraining_model(config, nnx.Rngs(0)))
    out = tmp_path / "report.html"
    assert visualize(["report", f"--workdir={tmp_path}", f"--out={out}"]) == 0
    assert 5e6 < out.stat().st_size < 15e6
    opened = open_page(out)
    assert opened.locator("#head label").count() == 1 + 3
