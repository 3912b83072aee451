"""Run folders: whose they are, and what is in them."""

import contextlib
import enum
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

import wsl_extraction
from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import metrics
from wsl_extraction.report import gin_diff, run_folder
from wsl_extraction.runtime import files, folder_lock

VERSION = f"# wsl_extraction {wsl_extraction.__version__}\n"
CONFIG = """\
import wsl_extraction.train

# Parameters for train:
# ===========================================
train.budget = 100
train.classes = \\
    ['aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
     'bbbbbbbbbbbb']
train.seed = 0
"""


def test_a_folder_is_made_and_taken_up_by_the_same_configuration(tmp_path):
  path = tmp_path / "runs" / "a"
  with run_folder.RunFolder(path) as run:
    run.prepare(CONFIG)
    assert run.config.read_text() == VERSION + CONFIG
  reordered = "# another comment\ntrain.seed = 0\n" + CONFIG.replace(
      "train.seed = 0\n", "")
  with run_folder.RunFolder(path) as run:
    run.prepare(reordered)
  assert (path / "config.gin").read_text() == VERSION + CONFIG


@pytest.mark.parametrize("line, said", [
    ("# wsl_extraction 0.0.1\n", "another version of wsl_extraction, 0.0.1, "),
    ("", "which left no number"),
    ("# something else\n", "which left no number"),
])
def test_a_run_of_another_version_is_refused(tmp_path, line, said):
  (tmp_path / "config.gin").write_text(line + CONFIG)
  (tmp_path / "result.json").write_text("{}")
  with pytest.raises(InputError, match=said) as refusal:
    run_folder.RunFolder(tmp_path).prepare(CONFIG)
  assert f"not of {wsl_extraction.__version__}; delete" in str(refusal.value)
  assert "install that version" in str(refusal.value)
  assert sorted(os.listdir(tmp_path)) == ["config.gin", "result.json"]


def test_a_folder_is_looked_at_without_a_trace(tmp_path):
  new = run_folder.RunFolder(tmp_path / "new")
  new.refuse_others(CONFIG)
  new.refuse_use()
  assert not new.path.exists()
  held = tmp_path / "held"
  held.mkdir()
  (held / "config.gin").write_text(VERSION + CONFIG)
  (held / "metrics.jsonl").touch()
  run = run_folder.RunFolder(held)
  run.refuse_others()
  run.refuse_others(CONFIG)
  run.refuse_use()
  with pytest.raises(InputError, match=r"train.seed is 0 there and 1"):
    run.refuse_others(CONFIG.replace("seed = 0", "seed = 1"))
  assert sorted(os.listdir(held)) == ["config.gin", "metrics.jsonl"]


@pytest.mark.parametrize("change, said", [
    (("= 100", "= 200"), "train.budget is 100 there and 200 here"),
    (("train.seed = 0\n", ""), "train.seed is 0 there and not set here"),
    (("train.seed", "train.k = 3\ntrain.seed"),
     "train.k is not set there and 3 here"),
    (("'bbbbbbbbbbbb'", "'bbbbbbbbbbbc'"), r"bbb'\] there and .*bbc'\] here"),
    (("import wsl_extraction.train", "import other"),
     "import other is not set there and present here"),
])
def test_another_configuration_is_refused_by_its_first_difference(
    tmp_path, change, said):
  with run_folder.RunFolder(tmp_path) as run:
    run.prepare(CONFIG)
    run.metrics.touch()
  with pytest.raises(InputError, match=said) as refusal:
    run_folder.RunFolder(tmp_path).prepare(CONFIG.replace(*change))
  assert "\n" not in str(refusal.value)
  assert "choose another --workdir, or delete" in str(refusal.value)
  with run_folder.RunFolder(tmp_path) as run:  # The refusal let go of the lock.
    run.prepare(CONFIG)


def _charges(path: pathlib.Path, rows: int) -> None:
  """A store of responses as far as it is looked at here."""
  with contextlib.closing(sqlite3.connect(path)) as database:
    database.execute("CREATE TABLE charges (key BLOB)")
    database.executemany(
        "INSERT INTO charges VALUES (?)", [(b"row",)] * rows)
    database.commit()


@pytest.mark.parametrize("version", [VERSION, "# wsl_extraction 0.0.1\n"])
def test_a_folder_in_which_nothing_was_paid_is_anyones(tmp_path, version):
  """What a process leaves that is killed before the first query."""
  (tmp_path / "config.gin").write_text(version + CONFIG)
  (tmp_path / "queries.json").write_text("{}")
  (tmp_path / "notes.txt").write_text("mine")
  _charges(tmp_path / "responses.sqlite", 0)
  mended = CONFIG.replace("= 100", "= 200")
  run_folder.RunFolder(tmp_path).refuse_others(mended)
  with run_folder.RunFolder(tmp_path) as run:
    run.prepare(mended)
    assert run.config.read_text() == VERSION + mended
  assert sorted(os.listdir(tmp_path)) == [".lock", "config.gin", "notes.txt"]
  _charges(tmp_path / "responses.sqlite", 1)
  with pytest.raises(InputError, match="200 there and 100 here"):
    run_folder.RunFolder(tmp_path).prepare(CONFIG)


def test_a_configuration_of_the_users_own_is_not_replaced(tmp_path):
  (tmp_path / "config.gin").write_text("# my own file\n")
  with pytest.raises(InputError, match="left no number"):
    run_folder.RunFolder(tmp_path).prepare(CONFIG)
  assert (tmp_path / "config.gin").read_text() == "# my own file\n"


def test_gins_own_normal_form_is_compared():
  gin = pytest.importorskip("gin")
  long = ["x" * 40] * 4

  def text(**values):
    lines = [f"scope/report_probe.{k} = {v!r}" for k, v in values.items()]
    with gin.unlock_config():
      gin.clear_config()
      gin.parse_config(lines)
    return gin.config_str()

  gin.external_configurable(
      lambda a=1, b=None: (a, b), name="report_probe", module="tests")
  try:
    assert gin_diff.first_difference(
        text(a=1, b=long), text(b=long, a=1)) is None
    assert gin_diff.first_difference(text(a=1, b=long), text(a=2, b=long)) == (
        "scope/report_probe.a", "1", "2")
  finally:
    gin.clear_config()


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
  (tmp_path / "thesis.tex").write_text("years of work")
  with pytest.raises(InputError, match=r"holds thesis.tex but no config.gin"):
    run_folder.RunFolder(tmp_path).prepare(CONFIG)
  assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_in_the_folders_place_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  for path in (tmp_path / "file", tmp_path / "file" / "below"):
    with pytest.raises(InputError, match="is no folder"):
      run_folder.RunFolder(path).prepare(CONFIG)


def test_what_a_killed_process_left_is_taken_up_and_swept(tmp_path):
  for name in (".lock", ".config-ab_d3fg8.gin", ".surrogate-abcdefgh.keras"):
    (tmp_path / name).write_text("")
  with run_folder.RunFolder(tmp_path) as run:
    run.prepare(CONFIG)
  assert sorted(os.listdir(tmp_path)) == [".lock", "config.gin"]


def test_temporary_files_of_whole_are_those_that_are_swept(tmp_path):
  run = run_folder.RunFolder(tmp_path)
  for path in (run.config, run.operative, run.metrics, run.checkpoint,
               run.surrogate, run.result, run.path / "queries.json",
               run.path / "round_2.npz"):
    with files.atomic_write(path) as temporary:
      assert run_folder._LEFTOVER.fullmatch(temporary.name)


def test_a_damaged_configuration_is_refused(tmp_path):
  (tmp_path / "config.gin").write_bytes(b"\xff\xfe\x00")
  said = r"config.gin is damaged .* delete that folder"
  with pytest.raises(InputError, match=said):
    run_folder.RunFolder(tmp_path).prepare(CONFIG)


_HOLD = """
import sys, time
from wsl_extraction.report import gin_diff
from wsl_extraction.report import run_folder
run = run_folder.RunFolder(sys.argv[1])
run.prepare(sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


def test_one_process_at_a_time_and_none_after_kill(tmp_path):
  with subprocess.Popen(
      [sys.executable, "-c", _HOLD, str(tmp_path), CONFIG],
      stdout=subprocess.PIPE, text=True) as holder:
    try:
      assert holder.stdout and holder.stdout.readline() == "held\n"
      said = f"in use by process {holder.pid};"
      with pytest.raises(InputError, match=said):
        run_folder.RunFolder(tmp_path).prepare(CONFIG)
      with pytest.raises(InputError, match=said):
        run_folder.RunFolder(tmp_path).refuse_use()
    finally:
      holder.send_signal(signal.SIGKILL)
  with run_folder.RunFolder(tmp_path) as run:
    run.prepare(CONFIG)


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
  def flock(handle, operation):
    raise OSError(45, "Operation not supported")

  monkeypatch.setattr(folder_lock.fcntl, "flock", flock)
  with run_folder.RunFolder(tmp_path) as run:
    run.prepare(CONFIG)
    run.refuse_use()
  assert run.config.exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
  def mkdir(self, *args, **kwargs):
    raise OSError(30, "Read-only file system")

  monkeypatch.setattr(pathlib.Path, "mkdir", mkdir)
  with pytest.raises(InputError, match="Read-only file system; choose"):
    run_folder.RunFolder(tmp_path / "new").prepare(CONFIG)


class _Level(enum.IntEnum):
  TOP_K = 3


def test_json_reads_back_in_order_and_plain(tmp_path):
  run = run_folder.RunFolder(tmp_path)
  content = {
      "status": "DONE",
      "level": _Level.TOP_K,
      "oracle": {"accuracy_top1": metrics.mean([0.25])},
      "scores": np.array([0.1, 1e-9], np.float32),
      "count": np.int64(3),
      "seconds": 1234567.891,
      "path": tmp_path,
  }
  run.write_json("result.json", content)
  text = run.result.read_text()
  assert text.endswith("}\n") and "NaN" not in text
  held = run.read_json("result.json")
  assert held is not None
  assert list(held) == list(content)
  assert held["level"] == "top_k"
  assert held["oracle"]["accuracy_top1"] == {
      "value": 0.25, "low": None, "high": None}
  assert held["scores"] == [0.1, 1e-9]
  assert held["count"] == 3 and held["seconds"] == 1234568.0
  assert run.read_json("absent.json") is None


@pytest.mark.parametrize("damage", [b"", b'{"a": 1', b"[1]", b"\xff\xff"])
def test_damaged_json_is_refused(tmp_path, damage):
  run = run_folder.RunFolder(tmp_path)
  run.result.write_bytes(damage)
  with pytest.raises(InputError, match=r"result.json is damaged .* delete it"):
    run.read_json("result.json")


def test_json_that_has_no_form_writes_nothing(tmp_path):
  with pytest.raises(TypeError):
    run_folder.RunFolder(tmp_path).write_json("result.json", {"a": object()})
  assert not os.listdir(tmp_path)


def test_files_are_as_readable_as_the_user_wants_them(tmp_path):
  before = os.umask(0o027)
  try:
    with files.atomic_write(tmp_path / "result.json") as path:
      path.write_text("{}")
  finally:
    os.umask(before)
  assert (tmp_path / "result.json").stat().st_mode & 0o777 == 0o640
