"""Which examples to ask the oracle about."""
