"""Strategies to choose the examples to query."""
