"""Attacks: an oracle and a budget in, a surrogate out."""
