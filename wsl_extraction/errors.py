"""The one exception that means: the user gave something that cannot work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class InputError(ValueError):
  """Input that cannot be used; its message is for the user.

  The message is one line that names what is wrong, where, and what to do.
  Binaries print it and exit with status 2. Every other exception is a defect
  of the package, and keeps its traceback.
  """


def made(what: str, make: Callable[..., Any], **arguments: Any) -> Any:
  """Calls what a configuration names, with what it binds.

  Args:
    what: The parameter that names it, for the message.
    make: A class or function, whose arguments may come from the user.
    **arguments: Those that do not.

  Raises:
    InputError: It does not take the arguments, or refuses their values.
  """
  try:
    return make(**arguments)
  except (TypeError, ValueError) as error:
    raise InputError(f"{what} cannot be used: {error}") from error
