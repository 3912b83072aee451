"""Engines that compute: this process, others of this machine, or Ray."""
