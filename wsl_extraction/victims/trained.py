"""Victims trained here, on the part of the data that is private to them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import keras

from wsl_extraction import checks
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.runtime import files
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.training.recipe import Recipe, Seeds
from wsl_extraction.victims.keras_file import cached
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    in_batches,
    quantities_of,
    weights_digest,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained(VictimSource):
  """Trains a victim on the labels of the private examples, once.

  The result is kept in the cache under a fingerprint of everything that it
  depends on, and found there by the next run with the same settings.

  Attributes:
    recipe: How it is trained.
    seed: Of initial weights, order and augmentation.
  """

  recipe: Recipe
  seed: int = 0

  def __post_init__(self):
    checks.instance("Trained.recipe", self.recipe, Recipe,
                    "a recipe, such as @recipe.Recipe()")
    object.__setattr__(self, "seed", checks.seed("Trained.seed", self.seed))

  def load(self, parts, runtime):
    """Gives the victim, from the cache or trained now.

    Raises:
      InputError: There are no private examples, or the cache cannot be
        written.
    """
    if not len(parts.private) or parts.num_classes is None:
      raise InputError("a victim cannot be trained on a private part of 0 "
                       "examples; raise Split.private or name a victim's file")
    self.recipe.check(parts.space)
    network = self.recipe.make_network(
        parts.space, parts.num_classes, self.seed, parts.private.rows)
    path = runtime.cache / "victims" / f"{self._key(network, parts)}.keras"
    network = cached(path) or self._train(
        parts, parts.num_classes, path, runtime)
    return Victim(parts.space, parts.num_classes,
                  quantities_of("logits", in_batches(network)),
                  weights_digest(network))

  def _key(self, network: keras.Model, parts: Parts) -> str:
    recipe = self.recipe
    augment = recipe.make_augment(self.seed)
    layers = [*network.layers, recipe.make_optimizer(),
              *([augment] if augment else ())]
    more = [] if recipe.accumulate == 1 else [recipe.accumulate]
    return digest(
        keras.backend.backend(), weights_digest(network), *more,
        *(_description(part) for part in layers), recipe.steps,
        recipe.batch_size, self.seed, *parts.private.keys,
        parts.private.labels)

  def _train(self, parts: Parts, num_classes: int, path: pathlib.Path,
             runtime: Runtime) -> keras.Model:
    seeds = Seeds(self.seed, self.seed, self.seed)
    student = self.recipe.student(
        Supervised(), parts.space, num_classes, seeds, runtime,
        parts.private.rows)
    checkpoint = path.with_suffix(".npz")
    self.recipe.fit(
        student, {"labeled": parts.private.rows,
                  "labels": parts.private.labels},
        "victim", seeds, runtime, checkpoint=checkpoint)
    with files.atomic_write(path) as temporary:
      student.network.save(temporary)
    checkpoint.unlink(missing_ok=True)
    return student.network


def _unnumbered(config: Any) -> Any:
  """A configuration without the running numbers of generators of seeds."""
  if isinstance(config, list | tuple):
    return [_unnumbered(one) for one in config]
  if not isinstance(config, dict):
    return config
  is_generator = config.get("class_name") == "SeedGenerator"
  return {name: {"seed": value.get("seed")} if is_generator
          and name == "config" else _unnumbered(value)
          for name, value in config.items()}


def _description(part: Any) -> str:
  """The configuration of a layer or optimizer, without its running number."""
  config = _unnumbered(part.get_config())
  config.pop("name", None)
  # See `optimizers.decaying_kernels` and `optimizers.MomentumL2`.
  more = getattr(part, "decays", "") + getattr(part, "rule", "")
  return f"{type(part).__name__} {json.dumps(config, default=str)}{more}"
