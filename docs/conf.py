"""Configuration of Sphinx."""

import os
import re
from importlib import metadata

# Importing a module reads the backend once; the pages need no accelerator.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

project = "wsl_extraction"
author = "The wsl_extraction authors"
project_copyright = author
release = metadata.version("wsl-extraction")
version = release

extensions = [
    "myst_parser",
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
napoleon_numpy_docstring = False
napoleon_custom_sections = [("References", "notes_style")]

# Docstrings are laid out for readers of the source, in plain text whose
# indents and stars mean nothing to reStructuredText.
suppress_warnings = ["docutils"]


def _show_code(app, what, name, thing, options, lines):
  """Makes `this` code, as it is in Markdown."""
  del app, what, name, thing, options
  lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
              for line in lines]


def _skip_default(app, what, name, thing, skip, options):
  """Leaves out a field's default that has a docstring of its own.

  The field is described already, under the class's "Attributes".
  """
  del app, what, options
  return True if getattr(thing, "__name__", name) != name else skip


def setup(app):
  """Connects what is defined above, ahead of napoleon."""
  app.connect("autodoc-skip-member", _skip_default)
  app.connect("autodoc-process-docstring", _show_code, priority=400)
