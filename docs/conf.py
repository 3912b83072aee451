"""Configuration of Sphinx."""

import os
import pathlib
import sys
from importlib import metadata

# Beside this file, which is no package.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import docstrings

# Importing a module reads the backend once; the pages need no accelerator.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

project = "wsl_extraction"
author = "The wsl_extraction authors"
project_copyright = author
release = metadata.version("wsl-extraction")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"wsl_extraction {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks are run when they or the settings here change, and must not fail.
nb_execution_mode = "cache"
nb_execution_cache_path = str(
    pathlib.Path(__file__).parent / "_build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "show-inheritance": True,
}
# Keras' docstrings are Keras' own.
autodoc_inherit_docstrings = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False

# Docstrings are laid out for readers of the source, in plain text whose
# indents and stars mean nothing to reStructuredText.
suppress_warnings = ["docutils"]


def _prepare(app, what, name, thing, options, lines):
  """Rewrites a docstring before napoleon reads it."""
  del app, what, name, thing, options
  lines[:] = docstrings.prepared(lines)


def _skip_default(app, what, name, thing, skip, options):
  """Leaves out a field's default that has a docstring of its own.

  The field is described already, under the class's "Attributes".
  """
  del app, what, options
  return True if getattr(thing, "__name__", name) != name else skip


def setup(app):
  """Connects what is defined above, ahead of napoleon."""
  app.connect("autodoc-skip-member", _skip_default)
  app.connect("autodoc-process-docstring", _prepare, priority=400)
