"""Reading checkpoints of torch without torch, and without running anything.

Both formats are read: the archive that torch writes since 1.6, and the older
one, in which four pickles (a magic number, the protocol, the machine, the
content) and a list of storages come before the storages themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import mmap
import os
import pathlib
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from wsl_extraction.data.images.decode import printable
from wsl_extraction.errors import InputError
from wsl_extraction.victims.tensor_pickle import (
    ByteOrder,
    Tensor,
    TensorUnpickler,
)

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_OLD_START = pickle.dumps(_MAGIC, protocol=2)
_ZIP_START = b"PK\x03\x04"
# A local header: 26 bytes, the lengths of name and extra field, both of them.
_ZIP_HEADER = 30
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads a state dict from a file that `torch.save` wrote.

  One inside a training checkpoint is found under "state_dict",
  "model_state_dict" or "model"; a "module." that all names begin with, from
  `DataParallel`, is cut off.

  Args:
    path: The file; it must not change while the arrays are in use.

  Returns:
    Name -> tensor. The arrays are read-only windows onto the file, which take
    no memory of their own; those of bfloat16 are copies in float32.

  Raises:
    InputError: It is missing, truncated, no checkpoint, or holds other things
      than tensors, of which nothing is imported or run.
  """
  path = pathlib.Path(path)
  data = _mapped(path)
  try:
    if data[:len(_ZIP_START)] == _ZIP_START:
      content = _read_zip(path, data)
    elif data[:len(_OLD_START)] == _OLD_START:
      content = _read_old(path, data)
    else:
      raise InputError(f"{path} is no checkpoint of torch; write one with "
                       "torch.save(model.state_dict(), path)")
    return _state(path, content)
  except InputError:
    raise
  except (EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
    raise InputError(f"{path} is truncated or damaged ("
                     f"{printable(error)[:200]}); get it again") from error
  except Exception as error:  # A made-up pickle can fail in any way.
    raise InputError(
        f"{path} cannot be read as a checkpoint ({type(error).__name__}: "
        f"{printable(error)[:200]}); it is damaged or holds other things than "
        "a state dict") from error


def sha256(path: str | os.PathLike) -> str:
  """The SHA-256 of a file, as hex digits, held against the file's name.

  torch's published files end in the hash's first digits: `name-c6f796b0.pth`.

  Raises:
    InputError: It is missing, or its name says another hash.
  """
  path = pathlib.Path(path)
  with _opened(path) as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
  promised = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
  if promised and not digest.startswith(promised[1]):
    raise InputError(
        f"{path} has the SHA-256 {digest[:len(promised[1])]}..., its name says "
        f"{promised[1]}; it is incomplete or was changed: get it again")
  return digest


@dataclasses.dataclass(frozen=True)
class _Content:
  """The pickled object, and the places of its storages."""

  unpickled: Any
  data: mmap.mmap
  # The first byte and the length in bytes of each storage.
  places: Mapping[str, tuple[int, int]]
  order: ByteOrder = "<"

  def array(self, tensor: Tensor) -> np.ndarray:
    start, length = self.places[tensor.storage.key]
    needed = tensor.storage.count * tensor.storage.itemsize
    if needed > length:
      raise EOFError(f"a storage of {needed} bytes has {length}")
    return tensor.array(self.data, start, self.order)


def _read_zip(path: pathlib.Path, data: mmap.mmap) -> _Content:
  with zipfile.ZipFile(path) as archive:
    entries = {entry.filename: entry for entry in archive.infolist()}
  pickles = [name for name in entries
             if name.split("/")[-1] == "data.pkl" and name.count("/") < 2]
  if len(pickles) != 1:
    raise InputError(f"{path} is an archive without data.pkl, no checkpoint of "
                     "torch; write one with torch.save(model.state_dict(), "
                     "path)")
  root = pickles[0].removesuffix("data.pkl")
  places = {name.removeprefix(root): _place(data, entry)
            for name, entry in entries.items() if name.startswith(root)}

  def text(name: str) -> bytes:
    start, length = places[name]
    return data[start:start + length]

  order: ByteOrder = ">" if "byteorder" in places and (
      text("byteorder") == b"big") else "<"
  start, _ = places["data.pkl"]
  data.seek(start)
  unpickled = TensorUnpickler(data, path).load()
  storages = {name.removeprefix("data/"): place
              for name, place in places.items() if name.startswith("data/")}
  return _Content(unpickled, data, storages, order)


def _place(data: mmap.mmap, entry: zipfile.ZipInfo) -> tuple[int, int]:
  """The place of an archive entry's bytes in the file."""
  if entry.compress_type != zipfile.ZIP_STORED:
    raise ValueError(f"{entry.filename} is compressed")
  start = entry.header_offset
  lengths = np.frombuffer(data[start + 26:start + _ZIP_HEADER], "<u2")
  start += _ZIP_HEADER + int(lengths.sum())
  if start + entry.file_size > len(data):
    raise EOFError(f"{entry.filename} ends after the file")
  # zipfile would compare it, and copy the tensors.
  with (memoryview(data) as whole,
        whole[start:start + entry.file_size] as content):
    if zlib.crc32(content) != entry.CRC:
      raise zipfile.BadZipFile(f"{entry.filename} fails its checksum")
  return start, entry.file_size


def _read_old(path: pathlib.Path, data: mmap.mmap) -> _Content:
  data.seek(len(_OLD_START))
  if TensorUnpickler(data, path).load() != _PROTOCOL:
    raise ValueError("a protocol of torch other than 1001")
  TensorUnpickler(data, path).load()  # the machine's sizes, which nothing needs
  unpickler = TensorUnpickler(data, path)
  unpickled = unpickler.load()
  places = {}
  for key in TensorUnpickler(data, path).load():
    head = data.read(8)
    if len(head) < 8:
      raise EOFError(f"it ends after {len(places)} storages")
    length = int.from_bytes(head, "little") * unpickler.storages[key].itemsize
    if data.tell() + length > len(data):
      raise EOFError(f"it ends in storage {len(places) + 1}")
    places[key] = data.tell(), length
    data.seek(length, os.SEEK_CUR)
  return _Content(unpickled, data, places)


def _state(path: pathlib.Path, content: _Content) -> dict[str, np.ndarray]:
  tensors = content.unpickled
  for key in _WRAPPERS:
    if isinstance(tensors, dict) and isinstance(tensors.get(key), dict):
      tensors = tensors[key]
      break
  if not isinstance(tensors, dict) or not tensors:
    raise InputError(f"{path} holds no state dict; write one with "
                     "torch.save(model.state_dict(), path)")
  for name, tensor in tensors.items():
    if not isinstance(name, str) or not isinstance(tensor, Tensor):
      raise InputError(
          f"{path} holds {printable(name)[:200]}, which is no tensor, and no "
          f"state dict under {' or '.join(_WRAPPERS)}; write one with "
          "torch.save(model.state_dict(), path)")
  cut = len(_PARALLEL) if all(
      name.startswith(_PARALLEL) for name in tensors) else 0
  return {name[cut:]: content.array(tensor)
          for name, tensor in tensors.items()}


def _mapped(path: pathlib.Path) -> mmap.mmap:
  with _opened(path) as file:
    try:
      return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # mmap's word for it
      raise InputError(f"{path} is empty; get it again") from error


def _opened(path: pathlib.Path) -> io.BufferedReader:
  if path.is_dir():
    raise InputError(f"{path} is a folder; give the path of a checkpoint, a "
                     ".pth file")
  if not path.exists():
    raise InputError(f"there is no checkpoint {path}; give the path of a .pth "
                     "file")
  try:
    return open(path, "rb")
  except OSError as error:
    raise InputError(f"cannot read {path}: {error.strerror or error}; choose a "
                     "file that you may read") from error
