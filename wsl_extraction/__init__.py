"""Extraction of models behind a query interface, and its limits.

`wsl_extraction.extract(victim, pool=rows, reveal="scores", budget=500)` gives a
`Copy`.
"""

import importlib
from typing import Any

from wsl_extraction.runtime import backend

__version__ = "0.1.0"

# Before anything imports TensorFlow, which reads these once.
backend.set_environment_defaults()

# Name -> the module that it comes from, imported when the name is used: none
# of them may import a backend before. __init__.pyi repeats them for editors.
_MODULES = {
    name: module for module, names in {
        "api": ("Copy", "extract"),
        "attacks.attack": ("Attack",),
        "attacks.extraction": ("Extraction",),
        "attacks.knowledge": ("Knowledge",),
        "attacks.learning.learning": ("Learning",),
        "attacks.linear.dimension_coupling": ("DimensionCoupling",),
        "attacks.linear.equation_solving": ("EquationSolving",),
        "attacks.linear.lowd_meek": ("LowdMeek",),
        "attacks.relu.functional": ("Functional",),
        "attacks.tree.axis_search": ("AxisSearch",),
        "attacks.tree.path_finding": ("PathFinding",),
        "data.columns": ("Columns",),
        "data.off_domain": ("OffDomain",),
        "data.split": ("Split",),
        "errors": ("InputError",),
        "objectives.distillation": ("Distillation", "LogitMatching"),
        "objectives.mixmatch": ("MixMatch",),
        "objectives.objective": ("Supervised",),
        "objectives.rotation": ("Rotation",),
        "oracle.defences": ("Defence", "Rounded"),
        "oracle.ledger": ("Budget", "BudgetExceeded"),
        "oracle.reveals": ("Label", "LabelScore", "Logits", "Scores", "TopK"),
        "oracle.side_reveals": ("Both", "Leaf", "Partial"),
        "oracle.spaces": ("Images", "Vectors"),
        "runtime.runtime": ("Runtime",),
        "training.recipe": ("Recipe",),
        "victims.function": ("Function",),
        "victims.keras_file": ("KerasFile", "KerasModel"),
        "victims.perceptron": ("Perceptron",),
        "victims.served": ("Served",),
        "victims.sklearn_model": ("Sklearn", "SklearnFile"),
        "victims.sklearn_trained": ("SklearnTrained",),
    }.items() for name in names}

# Computed, not written twice; the stub has the names for checkers.
__all__ = sorted(_MODULES)  # noqa: PLE0605 # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  if not _MODULES[name].startswith(("errors", "oracle", "runtime")):
    backend.start_backend()
  module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
  globals()[name] = getattr(module, name)
  return globals()[name]


def __dir__() -> list[str]:
  return sorted({*globals(), *_MODULES})
