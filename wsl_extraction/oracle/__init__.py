"""The threat model: what an adversary may ask, what it sees, what it pays."""
