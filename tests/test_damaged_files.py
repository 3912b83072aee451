"""Damaged files of every kind that is read: one line and no traceback.

Of kinds with checksums, what is read all the same is what was written.

Response stores have tests/oracle/test_damaged_stores.py, images
tests/data/images/test_damaged_images.py.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from fixtures import gin_files
from fixtures.damages import damaged
from wsl_extraction import cli_sources
from wsl_extraction.attacks.learning import query_log
from wsl_extraction.data import arrays
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.report import damage, run_table
from wsl_extraction.report.run_folder import RunFolder
from wsl_extraction.training import fit
from wsl_extraction.victims import keras_file, sklearn_model

CONFIG = "# wsl_extraction 9.9.9\ntrain.budget = 100\ntrain.seed = 0\n"
GIN = (gin_files.ROOT / "gin/mnist5k.gin").read_text()
X = np.arange(60 * 16, dtype=np.uint8).reshape(60, 4, 4, 1)
Y = np.arange(60) % 3


def npz(save) -> Callable[[pathlib.Path], object]:
  return lambda path: save(path, x=X, y=Y)


def network() -> keras.Model:
  return keras.Sequential([
      keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="ones")])


def student():
  made = fit.Student(network(), Supervised(), seed=0)
  made.compile("adam", run_eagerly=True)
  made.optimizer.build(made.trainable_variables)
  return made


def trained():
  """A student of whose variables none is as `student` has it."""
  made, rng = student(), np.random.default_rng(0)
  for variable in (*made.trainable_variables, *made.optimizer.variables):
    drawn = rng.uniform(2, 9, variable.shape)
    variable.assign(drawn.astype(variable.dtype))
  made.step.assign(7)
  return made


def checkpoint(path: pathlib.Path) -> None:
  kept = fit.Checkpoint(path)
  kept.set_model(trained())
  kept.on_epoch_end(0)


def fitted():
  return LogisticRegression().fit(X.reshape(60, -1), Y)


def read_model(path: pathlib.Path) -> None:
  for read, written in zip(keras_file.load(path).get_weights(),
                           network().get_weights(), strict=True):
    np.testing.assert_array_equal(read, written)


def read_classifier(path: pathlib.Path) -> None:
  read, written = sklearn_model.load(path), fitted()
  for name in ("coef_", "intercept_", "classes_"):
    np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


def result(path: pathlib.Path) -> None:
  figure = {"value": 0.9, "low": 0.8, "high": 0.95}
  models = {name: {f"{kind}_top{k}": figure for kind in (
      "accuracy", "fidelity") for k in (1, 5)} for name in (
          "oracle", "surrogate")}
  path.write_text(json.dumps({
      "attack": "Learning()", "status": "DONE", "reveal": "scores",
      "budget": 100, "queries": 100, "meters": {"rows": 100, "traces": 0},
      "equal_cost": 100, "sent_again": 0, "missing": "",
      "figures": {"a": {"value": 1, "text": "one"}}, "measured": 100,
      "measured_anew": 10, "seconds": 3.5, "repeats": {
          "pool": 9, "in_pool": 3, "test": 3, "test_in_pool": 1},
      "proof": {"least": 0.1, "most": 0.2, "seconds": 1.0}, **models}))


def shown(path: pathlib.Path) -> None:
  """As `train` shows a run that is finished."""
  held = RunFolder(path.parent).read_json(path.name)
  with damage.reading(path):
    run_table.result_table(held or {})


def read_data(path: pathlib.Path) -> None:
  data = arrays.read_npz(str(path)).train
  np.testing.assert_array_equal(data.rows, X)
  np.testing.assert_array_equal(data.labels, Y)


def read_checkpoint(path: pathlib.Path) -> None:
  made, written = student(), trained()
  assert fit.Checkpoint(path).restore(made) == 7
  for one, other in zip(
      (*made.variables, *made.optimizer.variables),
      (*written.variables, *written.optimizer.variables), strict=True):
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy,
                                       (one, other)))


def queries(path: pathlib.Path) -> None:
  log = query_log.QueryLog(path.parent, 60, [5, 5])
  log.add(np.arange(5))
  log.add(np.arange(10, 15))


KINDS = {
    "data.npz": (npz(np.savez), read_data),
    "compressed.npz": (npz(np.savez_compressed), read_data),
    "checkpoint.npz": (checkpoint, read_checkpoint),
    "model.keras": (lambda path: network().save(path), read_model),
    "model.skops": (
        lambda path: skops.io.dump(fitted(), path), read_classifier),
    "result.json": (result, shown),
    "queries.json": (
        queries, lambda path: query_log.QueryLog(path.parent, 60, [5, 5])),
    "config.gin": (
        lambda path: path.write_text(CONFIG),
        lambda path: RunFolder(path.parent).refuse_others(CONFIG)),
    "own.gin": (lambda path: path.write_text(GIN),
                lambda path: cli_sources.check([str(path)], [])),
}
SLOW_TO_READ = {"model.keras": 4, "model.skops": 4, "checkpoint.npz": 4}


@pytest.mark.parametrize("flag, method", [(1, 0), (0, 99)])
@pytest.mark.parametrize("name", ["data.npz", "checkpoint.npz"])
def test_archives_that_python_cannot_unpack_are_named(
    tmp_path, name, flag, method):
  """As encrypted, or as packed by a program of another kind."""
  write, read = KINDS[name]
  write(tmp_path / name)
  content = bytearray((tmp_path / name).read_bytes())
  for start, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
    entry = content.find(start)
    while entry >= 0:
      content[entry + place] |= flag
      content[entry + place + 2] |= method
      entry = content.find(start, entry + 4)
  (tmp_path / name).write_bytes(content)
  with pytest.raises(InputError, match=f"{name} is damaged"):
    read(tmp_path / name)


@pytest.mark.parametrize("seed, files", [
    (0, 40), pytest.param(1, 2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KINDS)
# Of damaged pickles and the like, by the libraries that read them.
@pytest.mark.filterwarnings("ignore")
def test_no_damaged_file_ends_in_a_traceback(tmp_path, name, seed, files):
  write, read = KINDS[name]
  path = tmp_path / name
  write(path)
  read(path)
  refused = 0
  for content in damaged(path.read_bytes(), files // SLOW_TO_READ.get(name, 1),
                         seed):
    path.write_bytes(content)
    try:
      read(path)
    except InputError as error:
      assert "\n" not in str(error)
      assert name in str(error) or str(tmp_path) in str(error)
      refused += 1
  assert refused
