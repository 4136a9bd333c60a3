"""Writes exact trace.dat files from Python values; see :class:`TraceWriter`.

Three layers, each usable alone: ``pages`` (ring-buffer records), ``formats`` (event formats of
4.14 to 7.2), ``container`` (v6 and v7 files).
"""

from __future__ import annotations

from tests.writers.container import Buffer, Compression, TraceFile
from tests.writers.formats import PLAIN, RT, USER_MODE, Common, EventSpec, Layout
from tests.writers.pages import Endian, PageBuilder
from tests.writers.trace import TraceWriter

__all__ = [
    "PLAIN",
    "RT",
    "USER_MODE",
    "Buffer",
    "Common",
    "Compression",
    "Endian",
    "EventSpec",
    "Layout",
    "PageBuilder",
    "TraceFile",
    "TraceWriter",
]
