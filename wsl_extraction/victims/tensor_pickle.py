"""A pickle of tensors, read without running what it may say.

A pickle is a program: loaded by Python's own means it imports and calls
whatever it names. Here it may name an ordered dictionary and what a tensor of
torch is made of, and gets stand-ins for these.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import mmap
import pathlib
import pickle
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np

from wsl_extraction.data.images.decode import printable
from wsl_extraction.errors import InputError

ByteOrder = Literal["<", ">"]

_BFLOAT16 = "bfloat16"
_STORAGES = {
    "FloatStorage": "f4", "HalfStorage": "f2", "DoubleStorage": "f8",
    "BFloat16Storage": _BFLOAT16, "LongStorage": "i8", "IntStorage": "i4",
    "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclasses.dataclass(frozen=True)
class Storage:
  """A run of numbers in the file."""

  kind: str
  key: str
  count: int

  @property
  def itemsize(self) -> int:
    """Bytes of a number."""
    return 2 if self.kind == _BFLOAT16 else np.dtype(self.kind).itemsize


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A view of a storage; offset and strides count numbers."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def array(self, data: mmap.mmap, start: int,
            order: ByteOrder) -> np.ndarray:
    """The tensor in a file that holds its storage from byte `start` on.

    Raises:
      ValueError: It reaches out of its storage.
    """
    numbers = (self.offset, self.storage.count, *self.shape, *self.strides)
    last = self.offset + sum(
        (size - 1) * stride
        for size, stride in zip(self.shape, self.strides, strict=True))
    # More numbers than the storage has, by strides of 0, could take any memory
    # when they are copied.
    size = math.prod(self.shape)
    if min(numbers) < 0 or size > self.storage.count or (
        size and last >= self.storage.count):
      raise ValueError(f"a tensor of shape {self.shape} reaches out of its "
                       "storage")
    half = self.storage.kind == _BFLOAT16
    dtype = np.dtype("u2" if half else self.storage.kind).newbyteorder(order)
    array = np.ndarray(
        self.shape, dtype, data, start + self.offset * dtype.itemsize,
        tuple(stride * dtype.itemsize for stride in self.strides))
    if half:  # the upper half of a float32
      return (array.astype(np.uint32) << 16).view(np.float32)
    return array


# In Python, not in C: that one sets memory aside for every number under which
# a file claims to remember something.
class TensorUnpickler(pickle._Unpickler):
  """Makes dictionaries, lists, numbers, strings and `Tensor`, no more."""

  stack: list[Any]  # of the base class

  def __init__(self, data: mmap.mmap, path: pathlib.Path):
    """Starts where `data` stands; calls it `path` in errors."""
    super().__init__(data)
    self._data = data
    self._path = path
    self.storages: dict[str, Storage] = {}

  def _forget_state(self) -> None:
    # Attributes, such as a state dict's versions. They could be set on the
    # stand-ins too, and nothing needs them.
    self.stack.pop()

  # Without what other code in this process has registered with copyreg.
  dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
      code: do for code, do in pickle._Unpickler.dispatch.items()
      if bytes([code]) not in (pickle.EXT1, pickle.EXT2, pickle.EXT4)
  } | {pickle.BUILD[0]: _forget_state}

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) in _ALLOWED:
      return _ALLOWED[module, name]
    if self._data.tell() == len(self._data):
      raise EOFError("it ends in a name")
    shown = printable(f"{module}.{name}")[:200]
    if module.startswith("torch.nn."):
      raise InputError(
          f"{self._path} holds a whole pickled network ({shown}), whose code "
          "is not run; save its weights: torch.save(model.state_dict(), path)")
    raise InputError(
        f"{self._path} names {shown}, which is no tensor and was not run; use "
        "a file of tensors only: torch.save(model.state_dict(), path)")

  def persistent_load(self, pid: Any) -> Any:
    label, kind, key, _, count, *view = pid
    if label == "module":
      raise InputError(f"{self._path} holds a whole pickled network, whose "
                       "code is not run; save its weights: "
                       "torch.save(model.state_dict(), path)")
    if label != "storage" or any(part is not None for part in view):
      raise ValueError("a storage of a kind that torch 0.4 left behind")
    if not isinstance(count, int) or not isinstance(kind, _Kind):
      raise ValueError("a storage without type or size")
    return self.storages.setdefault(
        str(key), Storage(kind.name, str(key), count))


@dataclasses.dataclass(frozen=True)
class _Kind:
  """Stand-in for torch's type of a storage."""

  name: str


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple,
            *_: Any) -> Tensor:
  return Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
  return tensor


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): _Kind(kind) for name, kind in _STORAGES.items()},
}
