"""Optimizers beside those of the references."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fixtures.gin_files import at_root  # noqa: F401
from wsl_extraction import cli
from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.experiment import Experiment
from wsl_extraction.training.optimizers import MomentumL2, Staircase
from wsl_extraction.victims.trained import Trained

# The rate rises, stays and drops to a tenth.
RATES = [0.0, 0.025, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005]
L2 = 0.1


def trained(optimizer, gradients):
  """A kernel and a bias after a step for each pair of gradients."""
  start = np.array([1.0, -2.0, 0.5], np.float32)
  kernel, bias = (keras.Variable(start, name=n) for n in ("kernel", "bias"))
  for pair in gradients:
    optimizer.apply([keras.ops.convert_to_tensor(g) for g in pair],
                    [kernel, bias])
  return np.stack([keras.ops.convert_to_numpy(v) for v in (kernel, bias)])


def own(nesterov=False, momentum=0.9):
  return MomentumL2(Staircase(0.05, [5], warmup_steps=2), momentum, L2,
                    nesterov)


def drawn():
  return np.random.default_rng(0).normal(
      size=(len(RATES), 2, 3)).astype(np.float32)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_tensorflow_1s(nesterov):
  """Whose velocity does not hold the rate, as that of Keras' SGD does."""
  tf = pytest.importorskip("tensorflow")
  start = [1.0, -2.0, 0.5]
  kernel, bias = tf.Variable(start), tf.Variable(start)
  rate = tf.Variable(0.0)
  theirs = tf.compat.v1.train.MomentumOptimizer(
      rate, 0.9, use_nesterov=nesterov)
  for value, pair in zip(RATES, drawn(), strict=True):
    rate.assign(value)
    theirs.apply_gradients(
        [(pair[0] + L2 * kernel, kernel), (pair[1], bias)])
  np.testing.assert_allclose(
      trained(own(nesterov), drawn()), np.stack([kernel, bias]), rtol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_torchs(nesterov):
  torch = pytest.importorskip("torch")
  start = [1.0, -2.0, 0.5]
  kernel, bias = (torch.tensor(start, requires_grad=True) for _ in range(2))
  theirs = torch.optim.SGD(
      [{"params": [kernel], "weight_decay": L2}, {"params": [bias]}],
      lr=0.1, momentum=0.9, nesterov=nesterov)
  for value, pair in zip(RATES, drawn(), strict=True):
    for group, one, gradient in zip(
        theirs.param_groups, (kernel, bias), pair, strict=True):
      group["lr"], one.grad = value, torch.tensor(gradient)
    theirs.step()
  np.testing.assert_allclose(
      trained(own(nesterov), drawn()),
      np.stack([v.detach().numpy() for v in (kernel, bias)]), rtol=1e-5)


def test_a_drop_of_the_rate_acts_at_once():
  """One gradient, then none: each step is its velocity times its own rate."""
  gradients = np.zeros((4, 2, 3), np.float32)
  gradients[0] = 1
  bias = trained(MomentumL2(Staircase(1.0, [2]), 0.5, 0.0), gradients)[1]
  passed = 1 + 0.5 + 0.1 * (0.25 + 0.125)
  np.testing.assert_allclose(
      bias, np.array([1.0, -2.0, 0.5]) - passed, rtol=1e-6)


def test_without_momentum_it_is_gradient_descent():
  gradients = drawn()
  after = trained(own(momentum=0.0), gradients)[1]
  expected = np.array([1.0, -2.0, 0.5]) - np.einsum(
      "s,sd->d", RATES, gradients[:, 1])
  np.testing.assert_allclose(after, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["distillation", "rotation", "supervised"])
def test_cifar10_is_trained_with_a_penalty_on_kernels(name):
  """Of 5e-4, through the momentum, and on nothing else."""
  cli.configure([f"gin/cifar10/{name}.gin"], ["STEPS = 7"])
  experiment = cli.built(Experiment)
  assert isinstance(experiment.attack, Learning)
  assert isinstance(experiment.victim, Trained)
  for recipe in (experiment.attack.recipe, experiment.victim.recipe):
    optimizer = recipe.make_optimizer()
    assert isinstance(optimizer, MomentumL2)
    assert optimizer.weight_decay is None and optimizer.nesterov
    assert (optimizer.l2, optimizer.momentum) == (5e-4, 0.9)
