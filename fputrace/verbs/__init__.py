"""The verbs of the command line, a module each: ``add(offer)`` declares it, ``run(args)`` does it.

``run`` puts a result on stdout and returns the exit status.  What a verb needs is imported when it
runs, so that ``fputrace --help`` costs no more than Python itself.
"""

from __future__ import annotations

from fputrace.verbs import (
    analyze,
    at,
    calibrate,
    check,
    convert,
    cut,
    diff,
    explain,
    export,
    graph,
    info,
    record,
    redact,
    report,
    rules,
    timeline,
)

VERBS = (
    analyze,
    report,
    check,
    diff,
    timeline,
    at,
    graph,
    info,
    convert,
    export,
    cut,
    redact,
    record,
    calibrate,
    rules,
    explain,
)
"""In the order in which ``fputrace --help`` lists them."""
