"""What `Student` costs: its `fit` beside Keras' own on the same network.

Both train the same ResNet-v2 (depth 8, width 16) from the same digits and
responses, 64 images a step, with the same augmentation on the device, the same
SGD and the same use of XLA. Bare Keras is a functional model, Augment and then
the network, with CategoricalCrossentropy(from_logits=True) on ready-made
probabilities; its `fit` gets numpy arrays, shuffles them itself, and executes
one step at a time, as Keras does by default. Student gets the package's own
batches, minimises Distillation(temperature=1.5), whose targets are log-scores
that it heats on the device, and is compiled with the package's defaults, which
execute several steps at once. "As in train" adds train's progress bar,
metrics.jsonl and one checkpoint at the end.

On torch, where it is installed, Student stands beside a loop written by hand
(benchmarks/resnet_v2_torch.py): the same network, batches, shifts and SGD, and
cross-entropy with ready-made probabilities. torch's threads spin while they
wait for each other, GOMP_SPINCOUNT rounds: 300,000 by default, fewer as the
package sets it. Each of the two has a process for either number, and all take
turns, on the machine as it is and, over an eighth of the steps, beside two more
processes that train by the loop. KERAS_BACKEND, if it is set, limits all this
to one backend.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import os
import pathlib
import tempfile

import numpy as np
import student_fit_torch
import timing

_BATCH, _CLASSES, _SHIFT, _TEMPERATURE = 64, 10, 2, 1.5
_STEPS = 64
_BARE, _STUDENT, _IN_TRAIN = "bare Keras", "Student", "Student, as in train"


def worker(mode: str, steps: int) -> None:
  if mode == student_fit_torch.LOAD:
    student_fit_torch.serve_load(_plain_torch)
    return
  if mode == student_fit_torch.PLAIN:
    student_fit_torch.serve_plain(_plain_torch, _BATCH, steps)
    return
  from wsl_extraction.runtime import backend
  backend.start_backend()
  images, responses = _data(steps)
  student = _Student(images, responses, steps)
  contestants = {
      _STUDENT: student.fit, _IN_TRAIN: student.fit_as_in_train,
      student_fit_torch.BRIEF: functools.partial(
          student.fit, steps=student_fit_torch.brief(steps)),
      "parameters": student.parameters}
  if mode == _BARE:
    contestants[_BARE] = _bare(images, responses)
  timing.serve(contestants)


def _data(steps: int):
  """Digits, and scores that an oracle might have given for them."""
  from wsl_extraction.data import datasets
  from wsl_extraction.oracle.response import Quantity, Response

  count = steps * _BATCH
  images = datasets.load("mnist5k").train.rows[:count]
  scores = np.random.default_rng(0).dirichlet(np.full(_CLASSES, 0.3), count)
  return images, Response(_CLASSES, Quantity.PROBABILITIES,
                          {"values": scores.astype(np.float32)})


def _heated(responses) -> np.ndarray:
  heated = responses.values ** (1 / _TEMPERATURE)
  return heated / heated.sum(axis=1, keepdims=True)


def _network(**options):
  from wsl_extraction.networks.resnet_v2 import resnet_v2
  return resnet_v2(depth=8, width=16, **options)


def _sgd():
  import keras
  return keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)


def _bare(images, responses):
  import keras

  from wsl_extraction.runtime import devices
  from wsl_extraction.training.augment import Augment
  inputs = keras.Input(images.shape[1:], dtype="uint8")
  network = _network(
      input_shape=images.shape[1:], num_classes=_CLASSES, seed=0)
  model = keras.Model(inputs, network(Augment(shift=_SHIFT)(inputs)))
  model.compile(_sgd(), jit_compile=devices.jit_compile(),
                loss=keras.losses.CategoricalCrossentropy(from_logits=True))
  heated = _heated(responses)
  return lambda: timing.rate(len(images), lambda: model.fit(
      images, heated, batch_size=_BATCH, verbose=0))


class _Student:
  """A student made and fitted by a `Recipe`, as attacks do it."""

  def __init__(self, images, responses, steps: int):
    from wsl_extraction.objectives.distillation import Distillation
    from wsl_extraction.oracle.spaces import Images
    from wsl_extraction.runtime import devices
    from wsl_extraction.runtime.runtime import Runtime
    from wsl_extraction.training import batches
    from wsl_extraction.training.augment import Augment
    from wsl_extraction.training.recipe import Recipe, Seeds
    self._runtime = functools.partial(
        Runtime, compile_options=devices.compile_options(),
        adapt=devices.adapt)
    self._recipe = Recipe(
        network=_network, optimizer=_sgd, steps=steps, batch_size=_BATCH,
        augment=functools.partial(Augment, shift=_SHIFT),
        checkpoint_every=steps)
    self._entries = {
        "labeled": images, **batches.response_entries(responses)}
    self._seeds = Seeds(0, 0, 0)
    self._student = self._recipe.student(
        Distillation(_TEMPERATURE), Images(*images.shape[1:]), _CLASSES,
        self._seeds, self._runtime())

  def fit(self, checkpoint: pathlib.Path | None = None,
          steps: int | None = None, **runtime) -> float:
    return timing.rate(
        (steps or self._recipe.steps) * _BATCH, lambda: self._recipe.fit(
            self._student, self._entries, "surrogate", self._seeds,
            self._runtime(**runtime), steps=steps, checkpoint=checkpoint))

  def fit_as_in_train(self) -> float:
    from wsl_extraction.report import metrics_file, training_log
    self._student.step.assign(0)
    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      return self.fit(
          folder / "checkpoint.npz", folder=folder,
          training_callbacks=lambda *size: [
              metrics_file.MetricsFile(folder / "metrics.jsonl"),
              training_log.Progress(*size, stream=io.StringIO())])

  def parameters(self) -> int:
    return sum(int(np.prod(weight.shape))
               for weight in self._student.trainable_variables)


def _plain_torch(steps: int):
  import resnet_v2_torch
  images, responses = _data(steps)
  return resnet_v2_torch.Training(
      images, _heated(responses), _BATCH, _SHIFT)


def _keras_sections(backends, args) -> list[str]:
  names = (_BARE, _STUDENT, _IN_TRAIN)
  with contextlib.ExitStack() as stack:
    ask = {backend: stack.enter_context(timing.Worker(
        _BARE, ["--quick"] * args.quick, KERAS_BACKEND=backend)).ask
        for backend in backends}
    turns = {(backend, name): lambda ask=ask[backend], name=name: ask(name)
             for backend in backends for name in names}
    timing.in_turns(turns, 1 if args.quick else 2)
    rates = timing.in_turns(turns, args.rounds)
  return [f"{backend}:\n\n" + timing.compared(
      {name: rates[backend, name] for name in names}, "images/s", _BARE)
      for backend in backends]


def main() -> None:
  args = timing.arguments(__doc__, rounds=9)
  if args.worker:
    worker(args.worker, 2 if args.quick else _STEPS)
    return
  backends = ["tensorflow"] if args.quick else ["tensorflow", "jax"]
  if importlib.util.find_spec("torch"):
    backends.append("torch")
  if chosen := os.environ.get("KERAS_BACKEND"):
    backends = [chosen]
    args.suffix = f"_{chosen}"
  by_keras = [one for one in backends if one != "torch"]
  sections = _keras_sections(by_keras, args) if by_keras else []
  if "torch" in backends:
    sections += student_fit_torch.sections(args)
  elif not chosen:
    sections.append("Plain torch: not run, as torch is not installed.")
  timing.publish(args, "Student.fit beside Keras' own fit", *sections)


if __name__ == "__main__":
  main()
