"""Networks as Keras models and as plain arrays."""
