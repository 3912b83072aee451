"""Files as torch writes them, made without torch."""

from __future__ import annotations

import pathlib
import pickle
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<i8": "LongStorage",
         ">f4": "FloatStorage"}


class Global:
  """Pickled as the name of something in a module."""

  def __init__(self, module: str, name: str):
    self.module, self.name = module, name

  def code(self) -> bytes:
    return f"c{self.module}\n{self.name}\n".encode()


def content(state, old: bool) -> bytes:
  """The pickle of a state dict name -> array, in opcodes written by hand."""
  made = b"\x80\x02" + Global("collections", "OrderedDict").code() + b")R("
  for key, (name, array) in enumerate(state.items()):
    strides = [stride // array.itemsize for stride in array.strides]
    made += text(name) + Global("torch._utils", "_rebuild_tensor_v2").code()
    made += b"((" + text("storage")
    made += Global("torch", KINDS[array.dtype.str]).code()
    made += text(str(key)) + text("cpu") + number(array.size)
    made += (b"N" if old else b"") + b"tQ" + number(0)
    for axes in (array.shape, strides):
      made += b"(" + b"".join(map(number, axes)) + b"t"
    made += b"\x89" + Global("collections", "OrderedDict").code() + b")RtR"
  return made + b"u."


def text(value: str) -> bytes:
  return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
  return b"J" + value.to_bytes(4, "little", signed=True)


def write_zip(path: pathlib.Path, pickled: bytes, storages=(), byteorder=None,
              root: str = "archive/") -> pathlib.Path:
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr(f"{root}data.pkl", pickled)
    if byteorder:
      archive.writestr(f"{root}byteorder", byteorder)
    for key, array in enumerate(storages):
      archive.writestr(f"{root}data/{key}", array.tobytes())
  return path


def write_old(path: pathlib.Path, pickled: bytes,
              storages=()) -> pathlib.Path:
  machine = {"protocol_version": 1001, "little_endian": True,
             "type_sizes": {"short": 2, "int": 4, "long": 4}}
  with open(path, "wb") as file:
    for part in (MAGIC, 1001, machine):
      file.write(pickle.dumps(part, protocol=2))
    file.write(pickled)
    file.write(pickle.dumps(list(map(str, range(len(storages)))), protocol=2))
    for array in storages:
      file.write(array.size.to_bytes(8, "little") + array.tobytes())
  return path


def write_state(path: pathlib.Path, state, old: bool = False) -> pathlib.Path:
  """Writes a state dict of contiguous arrays."""
  state = {name: np.array(value, order="C") for name, value in state.items()}
  write = write_old if old else write_zip
  return write(path, content(state, old), list(state.values()))
