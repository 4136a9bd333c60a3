"""Small developer tools that change recordings: ``python -m tests.tools.cut_pages --help``."""
