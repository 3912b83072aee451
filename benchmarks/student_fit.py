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
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import tempfile

import numpy as np
import timing

_BATCH = 64
_STEPS = 64


def worker(steps: int) -> None:
  from wsl_extraction.runtime import devices
  devices.start_backend()
  images, responses = _data(steps * _BATCH)
  student, batches = _student(images, responses, steps)
  timing.serve({
      "bare Keras": _bare(images, responses),
      "Student": lambda: _fit(student, batches, steps),
      "Student, as in train": lambda: _as_in_train(student, batches, steps)})


def _data(count: int):
  """Digits, and scores that an oracle might have given for them."""
  from wsl_extraction.data import datasets
  from wsl_extraction.oracle.response import Response
  from wsl_extraction.oracle.reveals import Access

  images = datasets.load("mnist5k").train.rows[:count]
  scores = np.random.default_rng(0).dirichlet(np.full(10, 0.3), count)
  classes = np.broadcast_to(np.arange(10, dtype=np.int32), scores.shape)
  return images, Response(Access.SCORES, classes, scores.astype(np.float32))


def _network():
  from wsl_extraction.networks.resnet_v2 import resnet_v2
  return resnet_v2((28, 28, 1), 10, depth=8, width=16, seed=0)


def _compile(model, **options):
  import keras
  model.compile(
      keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True), **options)


def _bare(images, responses):
  import keras

  from wsl_extraction.runtime import devices
  from wsl_extraction.training.augment import Augment
  inputs = keras.Input(images.shape[1:], dtype="uint8")
  model = keras.Model(inputs, _network()(Augment(shift=2)(inputs)))
  _compile(model, jit_compile=devices.jit_compile(),
           loss=keras.losses.CategoricalCrossentropy(from_logits=True))
  heated = responses.values ** (1 / 1.5)
  heated /= heated.sum(axis=1, keepdims=True)
  return lambda: timing.rate(len(images), lambda: model.fit(
      images, heated, batch_size=_BATCH, verbose=0))


def _student(images, responses, steps):
  from wsl_extraction.objectives.distillation import Distillation
  from wsl_extraction.runtime import devices
  from wsl_extraction.training import batches
  from wsl_extraction.training.augment import Augment
  from wsl_extraction.training.student import Student
  student = Student(_network(), Distillation(1.5), augment=Augment(shift=2))
  _compile(student, **devices.compile_options())
  entries = {"labeled": images, **batches.response_entries(responses, 10)}
  return student, batches.by_step(entries, steps, _BATCH, seed=0)


def _fit(student, batches, steps, **options) -> float:
  from wsl_extraction.training import fit
  return timing.rate(steps * _BATCH, lambda: fit.fit(
      student, batches, steps, checkpoint_every=steps, **options))


def _as_in_train(student, batches, steps) -> float:
  from wsl_extraction.report import training_log
  student.step.assign(0)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder)
    return _fit(student, batches, steps, checkpoint=path / "c.npz", callbacks=[
        training_log.MetricsFile(path / "metrics.jsonl"),
        training_log.Progress("student", steps, _BATCH, stream=io.StringIO())])


def main() -> None:
  args = timing.arguments(__doc__, rounds=9)
  steps = 2 if args.quick else _STEPS
  if args.worker:
    worker(steps)
    return
  names = ("bare Keras", "Student", "Student, as in train")
  backends = ("tensorflow",) if args.quick else ("tensorflow", "jax")
  with contextlib.ExitStack() as stack:
    ask = {backend: stack.enter_context(timing.Worker(
        "fit", ["--quick"] * args.quick, KERAS_BACKEND=backend)).ask
        for backend in backends}
    turns = {(backend, name): lambda ask=ask[backend], name=name: ask(name)
             for backend in backends for name in names}
    timing.in_turns(turns, 1 if args.quick else 2)
    rates = timing.in_turns(turns, args.rounds)
  tables = [
      f"{backend}:\n\n" + timing.compared(
          {name: rates[backend, name] for name in names}, "images/s",
          "bare Keras") for backend in backends]
  timing.publish(args, "Student.fit beside Keras' own fit", __doc__.strip(),
                 *tables)


if __name__ == "__main__":
  main()
