"""What makes extraction hard, and when two networks are provably equal."""
