"""fputrace: who held the FPU registers of each CPU, and what went wrong under KVM.

The public API, stable from 1.0 on:

``fputrace.open(path)``
    a :class:`~fputrace.events.Trace`: metadata and events in blocks.
``fputrace.analyze(path, …)``
    an :class:`~fputrace.findings.Analysis`: ``.findings``, ``.coverage``, ``.timeline``,
    ``.trace``.

>>> import fputrace
>>> result = fputrace.analyze("sample_traces/4.14.177-pinned/trace.dat")
>>> result.generation.code, result.findings
('G2', [])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["__version__", "analyze", "open"]

if TYPE_CHECKING:
    from fputrace.analysis import analyze
    from fputrace.parsers import open_trace as open  # noqa: A004 - the API is fputrace.open()


def __getattr__(name: str) -> object:
    # numpy is imported with the first call, not with the package: `fputrace --help` is instant.
    if name == "analyze":
        from fputrace.analysis import analyze

        return analyze
    if name == "open":
        from fputrace.parsers import open_trace

        return open_trace
    raise AttributeError(f"module 'fputrace' has no attribute {name!r}")
