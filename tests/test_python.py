"""The Python interface: README's ten lines, and what surrounds them."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import wsl_extraction as wsl
from example import least_squares
from wsl_extraction.errors import InputError

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEN_LINES, VICTIMS = re.findall(
    r"```python\n(.*?)```", README.split("## Ten lines of Python")[1],
    re.DOTALL)[:2]


def run(source, folder, capsys):
  """Runs lines as a script in a folder; gives their names and their output."""
  here = os.getcwd()
  os.chdir(folder)
  try:
    names = {}
    exec(compile(source, "README.md", "exec"), names)
  finally:
    os.chdir(here)
  return names, capsys.readouterr().out


def check(names, output):
  copy = names["copy"]
  assert copy.queries == 300 and copy.status == "DONE"
  assert 0.85 < copy.fidelity <= 1
  assert 0.8 < copy.accuracy <= 1
  assert "queries" in output and "surrogate" in output
  assert output.strip() == str(copy)


def test_ten_lines_on_a_classifier_of_scikit_learn(tmp_path, capsys):
  names, output = run(TEN_LINES, tmp_path, capsys)
  check(names, output)
  saved = keras.saving.load_model(tmp_path / "copy.keras")
  np.testing.assert_allclose(
      saved.predict(names["x"][:5], verbose=0),
      names["copy"].surrogate.predict(names["x"][:5], verbose=0), rtol=1e-6)


def with_victim(lines):
  """The ten lines with another victim."""
  before, after = re.split(r"victim = .*\n", TEN_LINES)
  return f"{before}{lines}\n{after}"


def test_ten_lines_on_a_keras_file(tmp_path, capsys):
  line, _ = VICTIMS.splitlines()
  names, output = run(with_victim(f"""
import keras
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.Input((64,)), keras.layers.Rescaling(1 / 16),
    keras.layers.Dense(10, activation="softmax")])
model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
model.fit(x[:900], y[:900], epochs=10, verbose=0)
model.save("model.keras")
{line}"""), tmp_path, capsys)
  check(names, output)


def test_ten_lines_on_a_function(tmp_path, capsys):
  _, line = VICTIMS.splitlines()
  names, output = run(with_victim(f"""
from sklearn.linear_model import LogisticRegression
model = LogisticRegression(max_iter=5000).fit(x[:900], y[:900])

def my_service(rows):
  return model.predict_proba(rows)

{line}"""), tmp_path, capsys)
  check(names, output)


def test_nothing_heavy_is_imported_before_it_is_needed():
  code = """
import sys
import wsl_extraction as wsl
heavy = {"keras", "tensorflow", "jax", "torch", "numpy", "sklearn"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
wsl.TopK(3), wsl.Budget(rows=5), wsl.InputError
assert not (heavy - {"numpy"}) & set(sys.modules)
wsl.KerasFile
assert "keras" in sys.modules
print(len(dir(wsl)))
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True,
                        text=True, check=False, cwd=ROOT)
  assert (done.returncode, done.stderr) == (0, "")


def test_every_name_is_there_and_typed():
  stub = (ROOT / "wsl_extraction" / "__init__.pyi").read_text(encoding="utf-8")
  typed = re.findall(r"(\w+) as \1", stub)
  names = vars(wsl)["__all__"]
  assert sorted(typed) == names
  for name in names:
    assert getattr(wsl, name).__name__ == name
  name = "nothing"
  with pytest.raises(AttributeError, match="no attribute 'nothing'"):
    getattr(wsl, name)


X = np.random.default_rng(0).normal(size=(80, 4))
Y = (X[:, 0] > 0).astype(int)


def victim(rows):
  return np.stack([-rows[:, 0], rows[:, 0]], axis=1)


def extract(**changes):
  settings = {"victim": victim, "pool": X, "budget": 20, **changes}
  return wsl.extract(settings.pop("victim"), **settings)


def test_a_victim_that_works_in_place_changes_no_figure():
  """The test rows of the surrogate were the victim's own, overwritten."""
  def in_place(rows):
    scores = victim(rows)
    rows[:] = 0
    return scores

  test = (np.random.default_rng(1).normal(size=(300, 4)), None)
  before = X.copy(), test[0].copy()
  expected, fidelity = (
      extract(victim=one, test=test).fidelity for one in (victim, in_place))
  assert expected is not None and fidelity == expected > 0.8
  np.testing.assert_array_equal(X, before[0])
  np.testing.assert_array_equal(test[0], before[1])


@pytest.mark.parametrize("change, message", [
    ({"pool": None}, "there is no pool"),
    ({"pool": np.zeros((3, 4, 5))}, r"pool has shape \(3, 4, 5\)"),
    ({"pool": "no such data"}, "no such data"),
    ({"pool": X.astype(str)}, "pool has shape"),
    ({"budget": -1}, "budget is -1"),
    ({"budget": 81}, "from 1 to 80"),
    ({"budget": "ten"}, "budget is 'ten'"),
    ({"reveal": "everything"}, "reveal is 'everything'"),
    ({"reveal": "top_k:3"}, "from 1 to 2"),
    ({"reveal": wsl.TopK}, "reveal is"),
    ({"seed": 1.5}, "seed is 1.5"),
    ({"attack": "learning"}, "attack is 'learning'"),
    ({"victim": 3}, "victim is 3"),
    ({"victim": "no.keras"}, "no model file no.keras"),
    ({"victim": lambda rows: rows[0]}, "a victim maps"),
    ({"outputs": "odds"}, "outputs is 'odds'"),
    ({"outputs": "probabilities"}, "declare outputs='logits'"),
    ({"test": (X, Y[:3])}, "one label for each row"),
    ({"test": (X[:, :2], Y)}, "rows of one kind"),
    ({"test": (X, Y / 2)}, "dtype float64"),
    ({"value_range": (1, 0)}, "value_range is"),
    ({"value_range": (-0.1, 0.1)}, "outside of -0.1 to 0.1"),
    ({"decimals": -1}, "decimals is -1"),
    ({"dtype": "int8"}, "dtype is 'int8'"),
    ({"defences": 5}, "defences is 5"),
    ({"runtime": "gpu"}, "runtime is 'gpu'"),
])
def test_bad_input_gets_one_line_that_names_it(change, message):
  with pytest.raises(InputError, match=message) as caught:
    extract(**change)
  assert "\n" not in str(caught.value)


def test_a_copy_tells_its_figures_and_saves_itself(tmp_path):
  copy = extract(test=(X, Y), reveal="label", seed=np.int64(3))
  assert copy.queries == copy.result["queries"] == 20
  assert copy.evaluation
  assert copy.fidelity == copy.evaluation.surrogate["fidelity_top1"].value
  assert copy.extraction.status.value == copy.status == "DONE"
  folder = copy.save(tmp_path / "new" / "copy")
  assert {path.name for path in folder.iterdir()} == {
      "surrogate.keras", "result.json"}
  np.testing.assert_allclose(
      keras.saving.load_model(folder / "surrogate.keras").predict(X, verbose=0),
      copy.surrogate.predict(X, verbose=0), rtol=1e-6)


def test_the_same_seed_gives_the_same_copy():
  first, second, other = (
      extract(seed=seed).surrogate.get_weights() for seed in (1, 1, 2))
  for a, b in zip(first, second, strict=True):
    np.testing.assert_array_equal(a, b)
  assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_without_a_test_set_nothing_is_measured():
  asked = []

  def counted(rows):
    asked.append(len(rows))
    return victim(rows)

  copy = extract(victim=wsl.Function(
      counted, outputs="logits", num_classes=2))
  assert copy.evaluation is None and copy.fidelity is None
  # A few made-up rows tell whether the victim is what it is declared to be.
  assert sum(asked) == 20 + 16
  assert "20 charged of a budget of 20, 16 more to measure" in str(copy)
  assert "fidelity" not in str(copy)


@pytest.mark.parametrize("test", [None, (X, Y), (X[:9], None)])
@pytest.mark.parametrize("outputs", [None, "logits"])
def test_every_row_that_the_victim_sees_is_counted(test, outputs):
  seen = []

  def counted(rows):
    seen.append(len(rows))
    return victim(rows)

  copy = extract(victim=counted, test=test, outputs=outputs, reveal="label",
                 attack=least_squares.LeastSquares(rows=20))
  assert sum(seen) == copy.queries + copy.result["measured_anew"]
  assert copy.queries == 20


def test_labels_of_words_are_the_classifiers_own():
  from sklearn.linear_model import LogisticRegression

  words = np.array(["no", "yes"])[Y]
  model = LogisticRegression().fit(X, words)
  copy = extract(victim=model, test=(X, words), budget=60)
  assert copy.accuracy is not None and copy.accuracy > 0.85
  with pytest.raises(InputError, match="'perhaps', which is no class"):
    extract(victim=model, test=(X, np.full(80, "perhaps")))


def test_an_attack_and_images_of_ones_own():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (60, 5, 5, 1), np.uint8)
  copy = wsl.extract(
      lambda rows: rows.reshape(len(rows), -1)[:, :3] / 255.0, images,
      reveal="logits", attack=wsl.Functional(box=True, attempts=1),
      budget=3000, outputs="logits", test=images)
  assert copy.queries <= 3000
  assert copy.result["attack"] == "functional"
