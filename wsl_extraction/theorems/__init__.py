"""The measurements behind `python -m wsl_extraction.hardness`."""
