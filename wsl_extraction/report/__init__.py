"""Run folders, progress, curves and tables: what a run leaves behind."""
