"""Tables and searches that consist of many runs."""
