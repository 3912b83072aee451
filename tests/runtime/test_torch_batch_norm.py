"""Batch normalisation by torch's kernel, beside Keras' own on torch."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops

from fixtures import students
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.runtime import devices
from wsl_extraction.training.student import Student

torch = pytest.importorskip("torch", reason="torch is not installed")
if keras.backend.backend() != "torch":
  pytest.skip("of the backend torch", allow_module_level=True)

# Of bfloat16, eight bits.
PRECISIONS = {"float32": 1e-5, "mixed_bfloat16": 1e-2}
SHAPES = [(16, 5), (4, 7, 5), (6, 4, 3, 5), (3, 2, 4, 3, 5), (64, 1, 1, 5)]
KINDS = [{}, {"scale": False}, {"center": False}, {"epsilon": 1e-5},
         {"momentum": 0.7}]


@pytest.fixture(autouse=True)
def _policy():
  yield
  keras.config.set_dtype_policy("float32")


@pytest.fixture(name="kernel_calls")
def fixture_kernel_calls(monkeypatch):
  """Counts the calls of torch's kernel."""
  calls, real = [], torch.native_batch_norm
  monkeypatch.setattr(torch, "native_batch_norm", lambda *given: (
      calls.append(1), real(*given))[1])
  return calls


def normalising(shape, precision="float32", fused=False, **kind):
  """A model that normalises, by weights that numpy drew."""
  keras.config.set_dtype_policy(precision)
  image = keras.Input(shape[1:], dtype="float32")
  model = keras.Model(image, layers.BatchNormalization(**kind)(image))
  rng = np.random.default_rng(1)
  for variable in model.variables:
    variable.assign(rng.uniform(0.5, 2, variable.shape))
  if fused:
    devices.adapt(model)
  return model


def numpy_of(tensor):
  return np.array(ops.convert_to_numpy(ops.cast(tensor, "float32")))


def computed(model, rows, training=True):
  """Outputs, gradients of inputs and weights, and variables afterwards."""
  inputs = torch.tensor(rows, requires_grad=True)
  outputs = model(inputs, training=training)
  towards = torch.tensor(np.random.default_rng(2).normal(
      size=rows.shape).astype("float32"))
  (outputs.float() * towards).sum().backward()
  found = {"outputs": numpy_of(outputs), "inputs": numpy_of(inputs.grad),
           "dtype": keras.backend.standardize_dtype(outputs.dtype)}
  for variable in model.trainable_variables:
    found[f"gradient of {variable.name}"] = numpy_of(variable.value.grad)
  return found | {variable.name: numpy_of(variable)
                  for variable in model.variables}


def rows_of(shape, mean=1.0, deviation=3.0, seed=0):
  rng = np.random.default_rng(seed)
  return (mean + deviation * rng.normal(size=shape)).astype("float32")


def same(found, expected, tolerance):
  assert found.keys() == expected.keys()
  assert found.pop("dtype") == expected.pop("dtype")
  for name, value in expected.items():
    np.testing.assert_allclose(
        found[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_is_as_keras_has_it(shape, kind, precision, training, kernel_calls):
  rows = rows_of(shape)
  plain, fused = (normalising(shape, precision, fused, **kind)
                  for fused in (False, True))
  # Twice: moving averages go on, and gradients add up.
  for _ in range(2):
    expected = computed(plain, rows, training)
    kernel_calls.clear()
    same(computed(fused, rows, training), expected, PRECISIONS[precision])
    # Of bfloat16 the kernel makes other roundings: left to Keras.
    assert len(kernel_calls) == (training and precision == "float32")


def test_statistics_are_those_of_the_batch_by_hand():
  shape, momentum, epsilon = (6, 4, 3, 5), 0.7, 1e-3
  model = normalising(shape, fused=True, momentum=momentum, epsilon=epsilon)
  rows = rows_of(shape)
  before = {variable.name: numpy_of(variable) for variable in model.variables}
  found = computed(model, rows)
  mean, variance = rows.mean(axis=(0, 1, 2)), rows.var(axis=(0, 1, 2))
  for name, new in (("moving_mean", mean), ("moving_variance", variance)):
    np.testing.assert_allclose(
        found[name], momentum * before[name] + (1 - momentum) * new, rtol=1e-5)
  np.testing.assert_allclose(
      found["outputs"], before["beta"] + before["gamma"] * (rows - mean)
      / np.sqrt(variance + epsilon), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mean, deviation", [
    (0.0, 0.0), (5.0, 0.0), (0.0, 1e-4), (100.0, 1.0), (0.0, 1e4)])
def test_rows_of_unusual_sizes(mean, deviation):
  rows = rows_of((32, 4, 4, 5), mean, deviation)
  exact = rows.astype("float64")
  found = computed(normalising(rows.shape, fused=True), rows)
  before = numpy_of(normalising(rows.shape).layers[1].moving_variance)
  np.testing.assert_allclose(
      found["moving_variance"],
      0.99 * before + 0.01 * exact.var(axis=(0, 1, 2)), rtol=1e-4)
  assert all(np.isfinite(value).all() for name, value in found.items()
             if name != "dtype")


@pytest.mark.parametrize("case", ["frozen", "first axis", "masked", "float64",
                                  "renormalised", "made by others"])
def test_what_the_kernel_cannot_do_is_left_to_keras(case, kernel_calls):
  shape, mask, dtype = (6, 4, 5), None, "float32"
  kind = {"first axis": {"axis": 1}, "renormalised": {"renorm": True},
          "float64": {"dtype": "float64"}}.get(case, {})

  def made(fused):
    layer = layers.BatchNormalization
    if case == "made by others":
      layer = type("Other", (layer,), {})
    model = keras.Sequential([keras.Input(shape[1:]), layer(**kind)])
    model.trainable = case != "frozen"
    if fused:
      devices.adapt(model)
    return model

  rows = rows_of(shape).astype(dtype)
  if case == "masked":
    mask = torch.tensor(np.arange(24).reshape(6, 4) % 3 > 0)
  plain, fused = made(False), made(True)
  given = {"training": True} | ({"mask": mask} if mask is not None else {})
  one, other = (numpy_of(model.layers[0](rows, **given))
                for model in (plain, fused))
  np.testing.assert_array_equal(one, other)
  for one, other in zip(plain.variables, fused.variables, strict=True):
    np.testing.assert_array_equal(numpy_of(one), numpy_of(other))
  assert not kernel_calls


@pytest.mark.parametrize("rematerialize", [False, True])
@pytest.mark.parametrize("objective", [
    Distillation(), Rotation(base=Distillation())])
def test_a_student_trains_as_with_keras(objective, rematerialize, kernel_calls):
  """Adapted twice, as by an attack that trains one network again."""
  def trained(adaptions):
    network = resnet_v2((8, 8, 1), 3, depth=8, width=4, seed=0)
    student = Student(network, objective, seed=1, rematerialize=rematerialize)
    for _ in range(adaptions):
      devices.adapt(student)
    student.compile(keras.optimizers.SGD(0.05))
    students.draw_weights(student)
    losses = [student.train_on_batch(students.batch(step), return_dict=True)
              ["loss"] for step in range(4)]
    return [np.array(losses, float), *map(numpy_of, student.variables)], (
        numpy_of(student(students.batch()["labeled"])))

  (expected, logits), (found, others) = trained(0), trained(2)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(others, logits, rtol=1e-3, atol=1e-4)
  assert kernel_calls


def test_the_file_of_an_adapted_network_is_as_any(tmp_path):
  make = functools.partial(resnet_v2, (8, 8, 1), 3, depth=8, width=4, seed=0)
  plain, fused = make(), make()
  devices.adapt(fused)
  assert fused.get_config() == plain.get_config()
  fused.set_weights(plain.get_weights())
  fused.save(tmp_path / "m.keras")
  again = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
  rows = students.batch()["labeled"]
  np.testing.assert_array_equal(
      again.predict(rows, verbose=0), plain.predict(rows, verbose=0))
