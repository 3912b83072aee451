"""The formats of exports, their names and packages; imports no backend."""

from __future__ import annotations

import importlib.util
import os
import pathlib

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files

# Format -> how its files are called, and the packages that write and read it.
FORMATS = {
    "onnx": ("{}.onnx", ("onnx", "onnxruntime", "tf2onnx")),
    "saved_model": ("{}_saved_model", ()),
    "keras": ("{}_export.keras", ()),
}


def default(surrogate: str, form: str) -> pathlib.Path:
  """The place beside a surrogate's file where its export goes."""
  path = files.expanded(surrogate)
  return path.with_name(FORMATS[form][0].format(path.stem))


def check(form: str, path: str | os.PathLike, surrogate: str) -> None:
  """Refuses an export that cannot be written, before anything is computed.

  Args:
    form: A key of `FORMATS`.
    path: The file or folder to write.
    surrogate: The file that is to be exported.

  Raises:
    InputError: A package is missing, or the path is taken.
  """
  missing = [name for name in FORMATS[form][1]
             if importlib.util.find_spec(name) is None]
  if missing:
    raise InputError(
        f"--export={form} needs {' and '.join(missing)}, not installed here; "
        f"pip install 'wsl-extraction[{form}]'")
  path = files.expanded(path)
  if path.resolve() == files.expanded(surrogate).resolve():
    raise InputError(f"{path} is the surrogate itself; give the export another "
                     "--export_path")
  if form == "saved_model" and path.exists():
    raise InputError(f"{path} is there already; delete it, or give another "
                     "--export_path")
  if form == "keras" and path.suffix != ".keras":
    raise InputError(f"--export_path is {path}; give a name that ends in "
                     ".keras")
  if form != "saved_model" and path.is_dir():
    raise InputError(f"{path} is a folder; give --export_path a file's name")
