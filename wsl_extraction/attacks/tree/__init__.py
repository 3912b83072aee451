"""Extraction of decision trees, and of sums of them."""
