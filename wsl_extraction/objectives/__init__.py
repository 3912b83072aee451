"""Objectives that surrogates minimise."""
