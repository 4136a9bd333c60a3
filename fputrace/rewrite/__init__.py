"""Recordings written anew, in their own form: a piece of one, or one without its names.

Everything here writes what :mod:`fputrace.parsers` reads.  What a recording holds and nobody here
knows is not copied.
"""
