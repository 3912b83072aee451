"""Attacks on linear classifiers: their weights from labels or scores."""
