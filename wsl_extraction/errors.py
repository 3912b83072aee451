"""The one exception that means: the user gave something that cannot work.

And the warnings, of what works and is hardly meant.
"""


class InputError(ValueError):
  """Input that cannot be used; its message is for the user.

  The message is one line that names what is wrong, where, and what to do.
  Binaries print it and exit with status 2. Every other exception is a defect
  of the package, and keeps its traceback.
  """


class VictimWarning(UserWarning):
  """A victim that is most likely asked in the wrong way; goes on."""


class DataWarning(UserWarning):
  """Data that can be used and are hardly what was meant; goes on."""
