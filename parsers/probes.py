"""Which kernel function a probe sits on, and so what kind of row its event makes.

Evidence in this order: the probed address looked up in the recording's own kallsyms, else the
definition that the recorder wrote down, else the event's name (weaker: anybody may call a probe
anything).  A probe on a function's return is
``Kind.PROBE_OTHER``, for what it says about its arguments differs; only that
kernel_fpu_begin*() has returned is a kind of its own.
"""

from __future__ import annotations

from fputrace.events import PROBED_FUNCTIONS, EventFormat, Kind, Trace
from fputrace.parsers.formats import is_return_probe
from fputrace.parsers.symbols import Symbols, base_name

RETURN = "%return"
"""Behind the function of a return probe, as perf probe writes it."""


def function_in_name(name: str) -> str | None:
    """The probed function an event's name speaks of: ``kernel_fpu_end``, ``p_kernel_fpu_end_0``."""
    # perf probe and fputrace record call the probe of a return so.
    base = base_name(name).removesuffix("__return")
    for prefix in ("", "p_", "kprobes_", "f_"):
        cut = base.removeprefix(prefix)
        for candidate in (cut, cut.rstrip("0123456789").removesuffix("_")):
            if candidate in PROBED_FUNCTIONS:
                return candidate
    return None


def _function_told(trace: Trace, form: EventFormat) -> str | None:
    """The function that the event's definition names, where the recorder kept it."""
    made = trace.sidecar.probes.get(form.key) if trace.sidecar else None
    return made.function if made and made.returns == is_return_probe(form) else None


def recognise(trace: Trace, symbols: Symbols, form: EventFormat, address: int) -> Kind:
    """The kind of a probe's record whose probed address is `address`; notes it in the trace."""
    function = symbols.near(address & (1 << 64) - 1)
    evidence = "kallsyms"
    if form.system == "ftrace":
        if function is None:
            return Kind.PROBE_OTHER
    elif function is None:
        function, evidence = _function_told(trace, form), "sidecar"
        if function is None:
            function, evidence = function_in_name(form.name), "name"
        # A name is no evidence against kallsyms, which has that function somewhere else.
        if function is None or symbols.first.get(function, 0):
            return Kind.PROBE_OTHER
    kind = PROBED_FUNCTIONS[function]
    if is_return_probe(form):
        function += RETURN
        kind = Kind.PROBE_KFPU_BEGUN if kind is Kind.PROBE_KFPU_BEGIN else Kind.PROBE_OTHER
    known = trace.probes.get(form.key)
    if known is not None and function not in known[0].split(", "):
        trace.probes[form.key] = (f"{known[0]}, {function}", evidence)
    else:
        trace.probes[form.key] = (function, evidence)
    return kind
