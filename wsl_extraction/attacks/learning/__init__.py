"""Attacks that train a surrogate on the oracle's responses."""
