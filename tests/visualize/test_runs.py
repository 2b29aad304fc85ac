"""Runs are told apart in pictures, and where nothing can be drawn there is one line."""

import pytest

from mv2mae_jax.errors import InputError
from mv2mae_jax.storage import out_path
from mv2mae_jax.visualize.__main__ import main
from mv2mae_jax.visualize.runs import named


def test_names_are_the_last_folders_if_they_differ():
    assert list(named(["runs/a", "other/b/"])) == ["a", "b"]
    assert list(named(["runs/a", "other/a"])) == ["runs/a", "other/a"]
    with pytest.raises(InputError, match="runs/a is named twice"):
        named(["runs/a", "runs/b", "./runs/a/"])


def test_a_run_is_named_where_it_is_the_folder_itself(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert list(named(["."])) == ["run"]
    with pytest.raises(InputError, match="is named twice"):
        named([".", str(tmp_path / "run")])


def test_where_nothing_can_be_written_is_said_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for out, why in (("file/out.png", "file takes no files"), ("folder.png", "it is a folder")):
        with pytest.raises(InputError, match=rf"{out} cannot be written \(.*{why}\); name another"):
            out_path(tmp_path / out)
    assert out_path(tmp_path / "new" / "deep" / "out.png").parent.name == "deep"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("curves", "--workdirs"),
        ("confusion", "--workdir"),
        ("ablation", "--field=seed", "--workdirs"),
        ("embedding", "--workdir"),
    ],
)
def test_without_a_run_there_is_one_line(tmp_path, capsys, words):
    picture, *options = words
    out = tmp_path / "out.png"
    assert main([picture, f"--out={out}", *options, str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "none" in error
    assert not out.exists()
