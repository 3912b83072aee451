"""Extraction of two-layer ReLU networks."""
