"""Data sets, transfer sets and what is done to images before training."""
