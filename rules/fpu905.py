"""# FPU905 impossible-flag

## What
Some events carry a flag that the kernel of this generation cannot print: `load_fpu=1` at a
switch-out save before 6.16, `load_fpu=0` there from then on, `initialized=0` on `regs_activated`
up to 5.1.

## Why it matters
The generation is wrong, records are corrupt, or the recording mixes two kernels: every verdict is
doubtful.

## Generations
All but G0.

## Events needed
x86_fpu:x86_fpu_regs_activated or x86_fpu:x86_fpu_regs_deactivated.

## Example
No recording shows it. The scenario in tests/rules/test_fpu905.py turns the flag of one save.

## When it can be wrong
The generation goes by what most switch-out saves print; with `--generation` the flags are held
against the one given.

## References
* `switch_fpu_prepare()` (5.2 to 6.15) saves only with the flag clear; `switch_fpu()` (6.16 on),
  in arch/x86/include/asm/fpu/sched.h, sets it first.
* arch/x86/include/asm/trace/fpu.h.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """Any such flag."""
    if not trace.bad_flags:
        return None
    said = (
        f"{trace.bad_flags} events carry a flag that {' or '.join(trace.candidates)} cannot print: "
        "wrong generation, corrupt records, or two recordings mixed."
    )
    return said, 1


RULE = TraceRule(
    code="FPU905",
    name="impossible-flag",
    title="events carry a flag this generation cannot print",
    check=check,
)
