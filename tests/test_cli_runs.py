"""Runs on hosts that share the owner's files, and on others."""

from __future__ import annotations

import pytest

from fixtures import stand_in_runs
from wsl_extraction import cli, cli_runs
from wsl_extraction.cli_workers import Surroundings
from wsl_extraction.errors import InputError
from wsl_extraction.report.grids.grid_runs import Cell, GinSettings, Run

RUN = Run(Cell("a", "16", GinSettings(("a.gin",)), "a"), 3)
RESULT = stand_in_runs.result({"accuracy_top1": 0.5})


@pytest.fixture(name="train")
def fixture_train(tmp_path, monkeypatch):
  """Does a run with a stand-in for `train`, which ends with a status."""
  def train(mark, status=0, said=""):
    def launched(words):
      assert words == [
          f"--workdir={RUN.folder(tmp_path)}",
          f"--measured={tmp_path / 'measured'}", "--gin_file=a.gin",
          *(f"--gin_bindings={one}" for one in RUN.settings.bindings),
          "--data_dir=here"]
      folder = stand_in_runs.write(RUN, tmp_path, RESULT)
      (folder / "checkpoint.npz").write_bytes(b"large")
      (folder / "events").mkdir()
      return status, said
    monkeypatch.setattr(cli_runs, "_launched", launched)
    monkeypatch.setattr(cli, "FLAGS", parsed.append)
    surroundings = Surroundings(str(tmp_path), (), ("--data_dir=here",))
    return cli_runs.ClusterRuns(tmp_path, mark, surroundings).train(RUN)
  parsed = []
  monkeypatch.chdir(tmp_path)
  yield train
  assert parsed == [["worker", "--data_dir=here"]]


def test_files_stay_where_the_owner_sees_them(tmp_path, train):
  with cli_runs.marked(tmp_path) as mark:
    assert (tmp_path / mark).is_file()
    ended = train(mark)
  assert (ended.status, ended.files) == (0, {})
  assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_files_are_given_back_from_elsewhere(tmp_path, train):
  ended = train(".owner-of-another-file-system")
  folder = RUN.folder(tmp_path)
  assert ended.files == {name: (folder / name).read_bytes()
                         for name in ("config.gin", "result.json")}


def test_a_failed_run_gives_its_reasons(train):
  ended = train("none", 2, "x" * 5000 + "error: no data\n")
  assert (ended.status, ended.files) == (2, {})
  assert ended.text.endswith("xxerror: no data\n")
  assert len(ended.text) == 4000


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / "file").touch()
  with (pytest.raises(InputError, match="cannot write"),
        cli_runs.marked(tmp_path / "file" / "table")):
    pass
