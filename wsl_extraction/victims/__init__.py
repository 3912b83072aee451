"""The models under attack; attacks never import from here."""
