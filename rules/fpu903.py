"""# FPU903 generation-undecided

## What
The recording fits more than one generation of the kernel's FPU code.

## Why it matters
Several generations print the same events and mean different things by them (G2 and G3, G4a and
G4x). What depends on it is `possible`.

## Generations
All of them, G0 to G6.

## Events needed
None: it is about the recording itself.

## Example
`sample_traces/4.14.0-rc8-pinned`: its `4.14.0-rc8+` is somebody's tree, so no bound. The events
rule G1 out (the guest stays loaded over a sched-out), G2 and G3 are left, and FPU101 is
`possible`. With `--generation G3` it is confirmed, with `--generation G2` there is none.

## When it can be wrong
The candidates are what elimination left. `--kernel RELEASE` or `--generation CODE` decides.

## References
* docs/generations.md; the evidence that the report prints.
* 240c35a3783a and its revert ec269475cba7, which change no event.
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
