"""What a surrogate is trained to do, and the training itself."""
