"""Victims that are Python functions, clients of a remote service say."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.victims import answers, inputs
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    quantities_of,
)


@dataclasses.dataclass(frozen=True)
class Function(VictimSource):
  """Any Python function of an array, named in gin.

  It gets rows as the data has them: images [n, h, w, d], tables [n, d], uint8
  or floating numbers in the range of the data. `value_range`, `channels_first`,
  `dtype` and `batch_size` change them, in this order. A module of torch:

    Function(lambda rows: module(torch.from_numpy(rows)), outputs="logits",
             dtype="float32", value_range=(0, 1), channels_first=True)

  Attributes:
    function: Maps rows [n, ...] to the answers of `outputs`; a reference,
      `@my_module.my_function`.
    outputs: The form of its answers: "logits" or "probabilities" [n, c], of two
      classes also [n, 1] for the second one; "percent"; "label", n classes by
      number or name; "top_k", for each row {class: probability} of the best, or
      arrays (classes [n, k], probabilities [n, k]).
    fingerprint: Tells victims apart whose code is the same; change it when
      what stands behind the function changes.
    num_classes: c; None for the number of `class_names`, else of the data.
    remote: Whether it asks a service, whose answers can be lost on the way.
      Rows that it had sent when the process was killed are then charged again.
    class_names: The names that it answers with, in the order of the classes'
      numbers; None for those of the data.
    k: The number of classes that "top_k" names, at least.
    decimals: To so many it rounds its scores (of a fraction, also for
      "percent"); None tells by its answers.
    dtype: The type of the rows that it gets, such as "float32"; None leaves
      them as they are.
    value_range: The least and the largest value that it wants, such as (0, 1);
      None for the range of the data.
    channels_first: Whether it wants images [n, d, h, w].
    batch_size: The most rows that it gets at once; None for all.
  """

  function: Callable[[np.ndarray], Any]
  _: dataclasses.KW_ONLY
  outputs: str = "probabilities"
  fingerprint: str = ""
  num_classes: int | None = None
  remote: bool = False
  class_names: Sequence[Any] | None = None
  k: int | None = None
  decimals: int | None = None
  dtype: str | None = None
  value_range: tuple[float, float] | None = None
  channels_first: bool = False
  batch_size: int | None = None

  def __post_init__(self):
    if not callable(self.function) or isinstance(self.function, type):
      raise InputError(f"Function.function is {self.function!r}; name a "
                       "function by reference, @my_module.my_function")
    answers.check_outputs("Function.outputs", self.outputs)
    for name, least in (("num_classes", 1), ("k", 1), ("decimals", 0),
                        ("batch_size", 1)):
      object.__setattr__(self, name, checks.whole(
          f"Function.{name}", getattr(self, name), least, optional=True))
    for name in ("remote", "channels_first"):
      checks.flag(f"Function.{name}", getattr(self, name))
    object.__setattr__(self, "class_names", answers.check_names(
        "Function.class_names", self.class_names))
    inputs.check_range("Function.value_range", self.value_range)
    checks.one_of("Function.dtype", self.dtype, inputs.DTYPES)
    if self.outputs == "top_k" and self.k is None:
      raise InputError("Function.k is None; give the number of classes that "
                       "the function names of each row, for outputs='top_k'")

  def load(self, parts, runtime):
    """Wraps the function.

    Raises:
      InputError: The number of classes is not known, or not that of the data.
    """
    outputs = self.num_classes or len(self.class_names or ()) or (
        parts.num_classes)
    if outputs is None:
      raise InputError("the number of classes of a function is not known; give "
                       "Function.num_classes")
    names = self.class_names or parts.class_names
    if self.class_names is not None and len(self.class_names) != outputs:
      raise InputError(
          f"Function.class_names has {len(self.class_names)} names, and there "
          f"are {outputs} classes; give one for each")
    answer = inputs.prepared(
        self.function, parts.space, value_range=self.value_range,
        channels_first=self.channels_first, dtype=self.dtype)
    quantities = quantities_of(
        self.outputs, answer, classes=outputs, class_names=names, k=self.k)
    if self.batch_size is not None:
      quantities = {
          quantity: inputs.in_parts(function, self.batch_size)
          for quantity, function in quantities.items()}
    return Victim(
        parts.space, outputs, quantities, self._digest(), remote=self.remote,
        decimals=self.decimals,
        named=self.k if self.outputs == "top_k" else None,
        # Where its range is not declared it may be a service, and each row that
        # is asked to find out costs.
        value_range=self.value_range)

  def _digest(self) -> str:
    bare = inspect.unwrap(self.function)
    try:
      source = inspect.getsource(bare)
    except (OSError, TypeError):
      source = repr(type(bare))
    name = f"{getattr(bare, '__module__', '')}." + str(
        getattr(bare, "__qualname__", type(bare)))
    # Those that are as they were before there was a choice do not count.
    options = {name: getattr(self, name) for name in (
        "class_names", "k", "dtype", "value_range", "channels_first")}
    changed = [f"{name}={value}" for name, value in options.items() if value]
    return digest(name, source, self.outputs, self.fingerprint, *changed)
