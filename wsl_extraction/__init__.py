"""Extraction of neural networks behind a query interface, and its limits."""

from wsl_extraction.runtime import devices

__version__ = "0.1.0"

# Before anything imports TensorFlow, which reads these once.
devices.set_environment_defaults()
