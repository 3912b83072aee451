"""Devices, processes, files and threads."""
