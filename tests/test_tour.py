"""The notebook as a newcomer runs it: whole, from a directory that is not the checkout."""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path("examples/tour.ipynb")


class Tour:
    """An executed notebook."""

    def __init__(self, folder: Path):
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "TMPDIR": str(folder)}
        environment.pop("XLA_FLAGS", None)  # of the tests' programs, which run a few steps
        place = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=300, resources=place).execute(env=environment)
        (self.files,) = folder.glob("tour-*")
        outputs = [x for cell in notebook.cells for x in cell.get("outputs", ())]
        self.text = "".join(x.text for x in outputs if x.output_type == "stream")
        self.pictures = sum("image/png" in x.get("data", ()) for x in outputs)

    def printed(self, pattern: str) -> list[float]:
        """Numbers of a line that the notebook prints."""
        (line,) = re.findall(pattern, self.text)
        return [float(number) for number in ([line] if isinstance(line, str) else line)]


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    return Tour(tmp_path_factory.mktemp("tour"))


def test_it_is_stored_without_what_a_run_leaves():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)
    assert not any(cell.metadata for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_it_runs_and_draws(tour: Tour):
    assert "error:" not in tour.text
    assert tour.pictures == 5  # contact sheet, batch, curve, reconstruction, attention
    assert all((tour.files / name).is_file() for name in ("sheet.png", "attention.png"))


def test_pretraining_learns(tour: Tour):
    first, step, last, end = tour.printed(r"loss (\S+) at step (\d+), (\S+) at (\d+)\n")
    assert last < 0.5 * first and (step, end) == (12, 180)


def test_what_it_says_of_finetuning_is_what_was_measured(tour: Tour):
    results = json.loads((tour.files / "finetune/results.json").read_text())
    top1, videos, chance = tour.printed(
        r"top-1 (\S+)% of (\d+) videos of camera 1, by chance (\S+)%"
    )
    assert top1 == round(100 * results["top1_single_view"], 1)
    assert videos == results["num_videos"] == 24 and chance == 8.3
    assert set(results["per_class_accuracy"]) and results["protocol"] == "xview"


def test_the_export_gives_the_same_features(tour: Tour):
    (difference,) = tour.printed(r"largest difference of the features: (\S+)")
    assert difference <= 1e-4
    assert (tour.files / "encoder/model.safetensors").is_file()
