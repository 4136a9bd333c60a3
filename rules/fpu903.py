"""# FPU903 generation-undecided

## What
The recording fits more than one generation of the FPU code.

## Why it matters
Several generations print the same events and mean different things by them (G2 and G3, G4a and G4x). What depends on it
is `possible`.

## Generations
All.

## Events needed
None.

## Example
4.14.0-rc8+ in `sample_traces/4.14.0-rc8-pinned`: G2 or G3.

## When it can be wrong
The candidates are what elimination left; `--kernel` or `--generation` decides.

## References
Reference C.0.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule
from fputrace.generation import evidence_for_all


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """More than one candidate is left."""
    if trace.decided:
        return None
    return (
        "this may be " + evidence_for_all(trace.candidates) + ". Findings that depend on it are "
        "possible only; --kernel RELEASE or --generation CODE decides.",
        1,
    )


RULE = TraceRule(
    code="FPU903",
    name="generation-undecided",
    title="the kernel generation is not decided",
    check=check,
)
