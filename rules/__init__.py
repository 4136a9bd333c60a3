"""All rules, in the order of their codes.  A rule is one page: add its module and one row here.

Codes are stable and never reused (design, section 4).
"""

from __future__ import annotations

from types import ModuleType

from fputrace.findings import Rule, TraceRule
from fputrace.rules import (
    fpu101,
    fpu102,
    fpu103,
    fpu104,
    fpu105,
    fpu106,
    fpu107,
    fpu108,
    fpu109,
    fpu110,
    fpu111,
    fpu112,
    fpu113,
    fpu114,
    fpu115,
    fpu116,
    fpu117,
    fpu118,
    fpu119,
    fpu120,
    fpu121,
    fpu201,
    fpu202,
    fpu203,
    fpu204,
    fpu205,
    fpu206,
    fpu207,
    fpu208,
    fpu301,
    fpu302,
    fpu303,
    fpu901,
    fpu902,
    fpu903,
    fpu904,
    fpu905,
    fpu906,
)

PAGES: tuple[ModuleType, ...] = (
    fpu101,
    fpu102,
    fpu103,
    fpu104,
    fpu105,
    fpu106,
    fpu107,
    fpu108,
    fpu109,
    fpu110,
    fpu111,
    fpu112,
    fpu113,
    fpu114,
    fpu115,
    fpu116,
    fpu117,
    fpu118,
    fpu119,
    fpu120,
    fpu121,
    fpu201,
    fpu202,
    fpu203,
    fpu204,
    fpu205,
    fpu206,
    fpu207,
    fpu208,
    fpu301,
    fpu302,
    fpu303,
    fpu901,
    fpu902,
    fpu903,
    fpu904,
    fpu905,
    fpu906,
)
"""A module a rule; its docstring is its documentation (``fputrace explain``)."""

RULES: tuple[Rule, ...] = tuple(p.RULE for p in PAGES if isinstance(p.RULE, Rule))
TRACE_RULES: tuple[TraceRule, ...] = tuple(p.RULE for p in PAGES if isinstance(p.RULE, TraceRule))
