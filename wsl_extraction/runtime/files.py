"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import secrets
import tempfile
from collections.abc import Iterator

from wsl_extraction.errors import InputError


def expanded(path: str | os.PathLike) -> pathlib.Path:
  """Returns a path whose "~" or "~somebody" is replaced by the home folder.

  Raises:
    InputError: There is no such user, or this one has no home folder.
  """
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise InputError(f"{path} is below a home folder that is not known; give "
                     "the whole path") from error


def in_home(*parts: str) -> pathlib.Path:
  """Returns a path below the home folder, or else one of this user's own.

  Containers run with a user number that has no name and no home: there it is
  below the folder of temporary files.
  """
  try:
    return pathlib.Path.home().joinpath(*parts)
  except RuntimeError:
    folder = f"wsl_extraction-{os.getuid()}" if hasattr(os, "getuid") else (
        "wsl_extraction")
    return pathlib.Path(tempfile.gettempdir(), folder, *parts)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary path beside `path` that replaces it on success.

  What was written is flushed to the disk before the rename, so that after a
  crash at any moment `path` holds either its old content or all of the new.

  Args:
    path: The file to write; its folder is made.

  Raises:
    InputError: The folder is read-only or the disk is full.
  """
  path = expanded(path)
  temporary = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: writers such as Keras choose the format by it.
    name = f".{path.stem}-{secrets.token_hex(4)}{path.suffix}"
    # Not by `tempfile`, whose files no one else may read.
    os.close(os.open(path.parent / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY,
                     0o666))
    temporary = path.parent / name
    yield temporary
    with open(temporary, "rb+") as written:
      os.fsync(written.fileno())
    os.replace(temporary, path)
  except OSError as error:
    raise unwritable(path, error) from error
  finally:
    if temporary is not None:
      temporary.unlink(missing_ok=True)


def utf8(content: bytes, where: str) -> str:
  """The text of a file, without a byte order mark.

  Args:
    content: The file's bytes.
    where: Names the file.

  Raises:
    InputError: It is no UTF-8; its first such line is named.
  """
  try:
    return content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = content[:error.start].count(b"\n") + 1
    raise InputError(f"{where}, line {line}, is no UTF-8 (byte "
                     f"{content[error.start]:#04x}); save it as UTF-8"
                     ) from error


def unwritable(path: str | os.PathLike, error: OSError) -> InputError:
  """Turns an operating system's refusal into a message for the user."""
  remedy = {
      errno.ENOSPC: "free some space, then run the same command again",
      errno.EDQUOT: "free some of your quota, then run the same command again",
  }.get(error.errno or 0, "choose a folder that you may write to")
  return InputError(f"cannot write {path}: {error.strerror or error}; {remedy}")
