"""Mutated recordings against the whole tool: ``python -m tests.fuzz --help``."""
