"""Equality of ReLU networks, decided with proof."""
