"""The command line as a user meets it: real processes on real records."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jax.errors import JaxRuntimeError
from PIL import Image
from processes import finish, metrics, start, until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.main import in_one_line
from mv2mae_jax.training.checkpoints import load_parameters

SMALL = (
    "--config.data.image_size=32",
    "--config.data.num_frames=4",
    "--config.model.patch_size=(2,16,16)",
    "--config.batch_size=4",
    "--config.log_every=1",
    "--config.optimizer.warmup_epochs=1.0",
    "--config.ema_decay=0.9",
    "--config.pictures_every_epochs=0.0",
)
EVALUATION_FILES = ("results.json", "predictions.csv", "confusion.png")


def command(config: str, workdir: Path, *overrides: str) -> list[str]:
    flags = (f"--config=configs/{config}", f"--workdir={workdir}", *overrides)
    return [sys.executable, "-m", "mv2mae_jax.main", *flags]


def run(config: str, workdir: Path, *overrides: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(config, workdir, *overrides), capture_output=True, text=True)


@pytest.fixture(scope="module")
def small(mannequin_dir: Path) -> tuple[str, ...]:
    return (*SMALL, f"--config.data.data_dir={mannequin_dir}")


@pytest.fixture(scope="module")
def pretrained(small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "pretrain"
    pictures = "--config.pictures_every_epochs=4"
    done = run("mannequin.py", workdir, "--config.epochs=6", *small, pictures)
    assert done.returncode == 0, done.stderr
    return workdir


def explained_metrics() -> set[str]:
    """Names in the table of what `metrics.jsonl` has."""
    text = Path("docs/training.md").read_text()
    (table,) = re.findall(r"\n\| name \| meaning \|\n((?:\|.*\n)+)", text)
    return {"step", *re.findall(r"`(\w+)`", table)}


def test_a_run_leaves_what_it_promises(pretrained: Path):
    assert json.loads((pretrained / "config.json").read_text())["batch_size"] == 4
    assert "encoder.blocks.0" in (pretrained / "parameters.txt").read_text()
    assert list(pretrained.glob("events.out.tfevents.*"))
    lines = metrics(pretrained)
    assert set().union(*lines) <= explained_metrics()
    assert [line["step"] for line in lines] == list(range(1, 37))  # 24 activities, 6 epochs of 4
    assert {"loss", "self_view", "cross_view", "learning_rate", "pairs_per_second"} <= set(lines[0])
    assert {"self_view_target", "cross_view_source", "effective_patches"} <= set(lines[0])
    assert {"gradient_norm", "update_norm", "parameter_norm", "masked_motion"} <= set(lines[0])
    assert np.mean([x["loss"] for x in lines[-6:]]) < np.mean([x["loss"] for x in lines[:6]])


def test_tensorboard_reads_its_scalars_and_pictures(pretrained: Path):
    assert len(list(pretrained.glob("events.out.tfevents.*"))) == 1
    events = EventAccumulator(str(pretrained), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    assert losses == [(x["step"], pytest.approx(x["loss"])) for x in metrics(pretrained)]
    shown: dict[str, dict[int, np.ndarray]] = {}
    for tag in events.Tags()["images"]:
        for event in events.Images(tag):
            picture = np.array(Image.open(io.BytesIO(event.encoded_image_string)))
            assert picture.shape == (event.height, event.width, 3)
            shown.setdefault(tag, {})[event.step] = picture
    names = ("motion", "reconstruction", "attention")
    assert set(shown) == {f"pictures/{name}" for name in names}
    for name in names:
        early, late = shown[f"pictures/{name}"].values()
        assert list(shown[f"pictures/{name}"]) == [24, 36]  # after 4 epochs of 6 steps, and last
        assert early.std() > 10
        learned = name != "motion"  # the weights are of the same clip, and nothing is learned
        assert (early != late).any() == learned


def test_interrupted_equals_uninterrupted(pretrained: Path, small: tuple[str, ...], tmp_path: Path):
    """Nor do pictures, which the undisturbed run alone has, change anything."""
    workdir = tmp_path / "interrupted"
    words = command("mannequin.py", workdir, "--config.epochs=6", *small)
    process = start(words, **os.environ)
    until(lambda: len(metrics(workdir)) >= 3, [process])
    process.send_signal(signal.SIGTERM)
    (end,) = finish([process], timeout=120)
    assert end.code == 143, end.stderr
    assert "the same command continues" in end.stdout
    stopped_at = metrics(workdir)[-1]["step"]
    assert 3 <= stopped_at < 36

    # What a killed run wrote beyond its last checkpoint is written again, once.
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": stopped_at + 1, "loss": 0.0}) + "\n")
    again = run("mannequin.py", workdir, "--config.epochs=6", *small)
    assert again.returncode == 0, again.stderr
    assert f"from step {stopped_at} of 36" in again.stdout

    computed = ("step", "loss", "self_view", "cross_view", "gradient_norm")
    expected = [[line[name] for name in computed] for line in metrics(pretrained)]
    assert [[line[name] for name in computed] for line in metrics(workdir)] == expected
    parameters, _ = load_parameters(workdir)
    undisturbed, _ = load_parameters(pretrained)
    assert parameters.keys() == undisturbed.keys()
    for name, value in parameters.items():
        np.testing.assert_array_equal(value, undisturbed[name], err_msg=name)


def test_a_finished_run_started_again_does_nothing(pretrained: Path, small: tuple[str, ...]):
    before = metrics(pretrained)
    again = run("mannequin.py", pretrained, "--config.epochs=6", *small)
    assert again.returncode == 0
    assert "trained to its last step, 36" in again.stdout
    assert metrics(pretrained) == before


def test_another_config_in_the_same_workdir_is_refused(pretrained: Path, small: tuple[str, ...]):
    done = run("mannequin.py", pretrained, "--config.epochs=6", *small, "--config.seed=5")
    assert done.returncode == 1
    assert "seed: 0 there, 5 now" in done.stderr.splitlines()[-1]


def test_finetune_evaluate_and_probe(pretrained: Path, small: tuple[str, ...], tmp_path: Path):
    workdir = tmp_path / "finetune"
    init = f"--config.finetune.init_from={pretrained}"
    quick = ("--config.evaluation.clips=2", "--config.evaluation.crops=5")
    done = run("mannequin.py:finetune", workdir, "--config.epochs=4", init, *small, *quick)
    assert done.returncode == 0, done.stderr
    results = json.loads((workdir / "results.json").read_text())
    assert results["num_videos"] == results["num_activities"] == 24
    assert results["num_classes"] == 12
    assert set().union(*metrics(workdir)) <= explained_metrics()
    assert results["protocol"] == "xview"
    assert set(results["per_class_accuracy"]) == set(class_names(small))
    # One view a test activity: nothing to fuse. All classes are equally frequent.
    assert results["top1_multi_view"] == results["top1_single_view"]
    mean_class = np.mean(list(results["per_class_accuracy"].values()))
    assert results["top1_single_view"] == pytest.approx(mean_class)

    written = {name: (workdir / name).read_bytes() for name in EVALUATION_FILES}
    for name in EVALUATION_FILES:
        (workdir / name).unlink()
    again = run("mannequin.py:evaluate", workdir, *small, *quick)
    assert again.returncode == 0, again.stderr
    assert {name: (workdir / name).read_bytes() for name in EVALUATION_FILES} == written

    probed = run("mannequin.py:probe", pretrained, *small)
    assert probed.returncode == 0, probed.stderr
    assert "was trained" not in probed.stdout  # the same config but for what a probe takes
    probe = json.loads((pretrained / "probe.json").read_text())
    assert probe["chance"] == pytest.approx(1 / 12)
    assert probe["num_train_videos"] == 48
    accuracies = ("pixels", "motion_map", "motion_map_over_time", "tokens_before", "tokens_after")
    assert all(0 <= probe[key] <= 1 for key in accuracies)


def class_names(small: tuple[str, ...]) -> list[str]:
    data_dir = Path(small[-1].partition("=")[2])
    return json.loads((data_dir / "mannequin/2.0.0/index.json").read_text())["classes"]


def test_a_step_that_needs_more_memory_than_there_is(small: tuple[str, ...], tmp_path: Path):
    clips = ("--config.data.image_size=32", "--config.data.num_frames=16", "--config.batch_size=24")
    tubelets = "--config.model.patch_size=(1,1,1)"  # 16,384 of a clip
    # On a large machine too, and where memory is promised that is not there.
    limited = ["sh", "-c", 'ulimit -v 67108864; exec "$@"', "sh"]  # KiB
    words = limited + command("mannequin.py", tmp_path, *clips, tubelets, small[-1])
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: a device has too little memory (Out of memory allocating ")
    assert "config.accumulation=1" in line


def test_evaluating_what_cannot_be_evaluated(pretrained: Path, small: tuple[str, ...], tmp_path):
    no_classifier = run("mannequin.py:evaluate", pretrained, *small)
    assert no_classifier.returncode == 1
    assert "holds no classifier" in no_classifier.stderr.splitlines()[-1]
    nothing = run("mannequin.py:evaluate", tmp_path / "nothing", *small)
    assert nothing.returncode == 1
    assert "has no checkpoints" in nothing.stderr.splitlines()[-1]


def test_finetuning_another_encoder_is_refused(pretrained: Path, small: tuple[str, ...], tmp_path):
    init = f"--config.finetune.init_from={pretrained}"
    done = run("mannequin.py:finetune", tmp_path / "x", init, *small, "--config.model.variant=tiny")
    assert done.returncode == 1
    assert "model.variant=mini, but this config has tiny" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "says", "code"),
    [
        (["--config=configs/ntu60.py"], "--workdir", 2),
        (["--config=configs/nope.py", "--workdir=x"], "configs/nope.py: no such config file", 2),
        (
            ["--config=LICENSE", "--workdir=x"],
            "no config file (unexpected indent (LICENSE, line",
            2,
        ),
        (["--config=configs/ablations/__init__.py", "--workdir=x"], "no function get_config", 2),
        (["--config=configs/ntu60.py:nope", "--workdir=x"], "no variant 'nope'", 2),
        (["--config=configs/ntu60.py", "--workdir=x", "--config.data.nope=1"], "data.nope", 2),
        (["--config=configs/ntu06.py", "--workdir=x"], "did you mean configs/ntu60.py?", 2),
        (["--config=configs/ntu60.py:finetun", "--workdir=x"], "did you mean finetune?", 2),
        (
            ["--config=configs/ntu60.py", "--workdir=x", "--config.objective.temprature=3"],
            "--config.objective.temprature=3; did you mean objective.temperature? (all fields:",
            2,
        ),
        (
            ["--config=configs/ntu60.py", "--workdir=x", "--config.batchsize", "3"],
            "--config.batchsize; did you mean batch_size?",
            2,
        ),
        *(
            (
                ["--config=configs/ntu60.py", "--workdir=x", f"--config.{given}"],
                f"--config.{given}: invalid value; it is {takes}",
                2,
            )
            for given, takes in (
                ("batch_size=many", "a whole number"),
                ("masking.ratio=a", "a number"),
                ("data.flip=maybe", "true or false"),
                ("objective=4", "a section: set its fields"),
                ("model.patch_size=(2,3", "several values, in brackets"),
            )
        ),
        (["--config=configs/ntu60.py", "--workdir=x", "stray"], "not understood: stray", 2),
        (["--config=configs/ntu60.py", "--workdir=x", "--config.data.image_size=100"], "16", 2),
        (["--config=configs/ntu60.py", "--workdir=x"], "mv2mae_jax.prepare ntu", 1),
    ],
)
def test_mistakes_get_one_line(flags: list[str], says: str, code: int, tmp_path: Path):
    flags = [flag.replace("--workdir=x", f"--workdir={tmp_path / 'x'}") for flag in flags]
    words = [sys.executable, "-m", "mv2mae_jax.main", *flags]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert says in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_line_that_says_what_is_wrong_is_the_last():
    """Threads of libraries may complain at any time."""
    code = """
import sys, threading, time
from mv2mae_jax import main
def complain():
    while True: print(file=sys.stderr)
for _ in range(3): threading.Thread(target=complain, daemon=True).start()
code = main.fail(ValueError("no room"), main.FAILED)
time.sleep(0.2)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("\nerror: no room\n")


def test_what_a_user_can_mend_is_one_line_in_every_process():
    """So within `joined`, which ends other processes with the line of the one that failed."""
    config = get_config()
    for raised, says in (
        (OSError(28, "No space left on device", "/runs/x"), "No space left on device: '/runs/x'"),
        (
            JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.\nmore"),
            r"too little memory \(Out of memory allocating 7 bytes\.\); raise config.accum",
        ),
    ):
        with pytest.raises(InputError, match=says), in_one_line(config):
            raise raised
    with pytest.raises(JaxRuntimeError, match="INTERNAL"), in_one_line(config):
        raise JaxRuntimeError("INTERNAL: a bug")


def test_more_views_than_the_data_has(small: tuple[str, ...], tmp_path: Path):
    done = run("mannequin.py", tmp_path / "x", *small, "--config.data.num_views=3")
    assert done.returncode == 1
    assert "num_views=3" in done.stderr.splitlines()[-1]
    assert "at most 2" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "x").exists()
