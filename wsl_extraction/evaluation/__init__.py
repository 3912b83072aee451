"""Agreement of a surrogate with its victim and with the truth."""
