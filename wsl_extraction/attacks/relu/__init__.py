"""What the extraction of two-layer ReLU networks is made of."""
