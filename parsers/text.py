"""Text: tracefs' ``trace`` and ``trace_pipe``, ``trace-cmd report``, ``perf script``.

A file has one form, found from its lines.  What wraps such text (a console's log, a systrace page)
is taken off by :mod:`fputrace.parsers.wrapped` first.  The order of the lines is the order of the
events: what printed them merged the CPUs by time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice

from fputrace.errors import FormatError
from fputrace.events import EventBlock, Loss, Trace
from fputrace.parsers.clocks import GLOBAL_CLOCKS, RAW_CLOCKS
from fputrace.parsers.rows import Hole, Marks, losses_of
from fputrace.parsers.source import Source
from fputrace.parsers.textahead import take
from fputrace.parsers.textevents import EventTable, split_name
from fputrace.parsers.textindex import Index, look_through
from fputrace.parsers.textlines import Form, Prefix, form_of, read_prefix, shown
from fputrace.parsers.textpass import Pass, Plan
from fputrace.parsers.textprograms import Programs
from fputrace.parsers.wrapped import MOST_OTHERS, Unwrapped, refuse_endless, unwrap

_HEAD = 1 << 18  # bytes whose lines vote for a form
_SAMPLE = 200  # events decoded before the first block
_SEARCH = 1 << 22  # bytes looked through at a time when the head has no event
_MOST_CPUS = 8192  # that a header may name

_EXPECTED = (
    "expected lines of tracefs' trace or trace_pipe, of trace-cmd report, or of perf script, such "
    "as `sh-163 [001] d..2. 3.911872: x86_fpu_dropped: x86/fpu: 00000000c5633e9a load: 0 ...`"
)
_HINT = (
    "Give the text as it was printed: trace-cmd report -R -t, cat /sys/kernel/tracing/trace, or "
    "perf script --ns --show-lost-events -F comm,tid,cpu,time,event,trace."
)
# A line of the function_graph tracer: ` 0)   1.234 us    |  schedule();`, `... | vcpu_run() {`.
_GRAPH = re.compile(rb"^[^\n|]{0,200}\| {0,80}[\w.]{1,100}\(\)( \{|;)", re.MULTILINE)


Sampled = tuple[Prefix, bytes]
"""One of the first events: what its line begins with, and the line."""

UNCOUNTED = (
    "Nothing in this text tells that no line is missing (grep, tail, trace-cmd report -F or --cpu, "
    "a pasted part): nothing is proven by it. Give trace.dat, or tracefs' trace with its head."
)
"""A sentence of ``Trace.limits`` about a text without a count of its lines."""

NO_RELEASE = "A text does not tell the kernel release; --kernel RELEASE does."
"""A sentence of ``Trace.limits`` that holds until somebody knows better."""


def open_text(fd: int, path: str, *, clock: str | None = None) -> Trace:
    """Open a text.  The descriptor belongs to the trace from now on.

    `clock` is the trace clock where the caller knows it: no text names its own.  Raises FormatError
    when no line is an event, ReadError when the file fails.
    """
    source = Source(fd, path)
    try:
        outer = unwrap(fd, path)
        if outer is not None:
            source.close()
            source = Source(outer.fd, path)
        trace = _open(source, outer, clock)
    except BaseException:
        source.close()
        raise
    trace._close = source.close
    return trace


def _open(source: Source, outer: Unwrapped | None, clock: str | None) -> Trace:
    path = source.path

    def where(number: int) -> str:
        return f"line {outer.line_of(number) if outer is not None else number}"

    form, sample = _find_form(source)
    found = look_through(source, form, where, take(source, form))
    if not found.last:
        raise FormatError(
            f"no line is a whole event: {_EXPECTED}; {_quoted([line for _, line in sample])}",
            path=path,
            hint=_HINT,
        )
    trace = Trace(path, (outer.form if outer is not None else "") or _name_of(form, found))
    trace.total_bytes = source.size
    trace.cpus = sorted({*found.last, *(hole.cpu for hole in found.holes)})
    if 0 < found.cpus <= _MOST_CPUS:
        trace.cpus = sorted({*trace.cpus, *range(found.cpus)})
    trace.kernel = found.kernel
    if outer is not None:
        trace.kernel = outer.kernel or trace.kernel
        trace.notes += outer.notes
        found.named |= outer.named
        trace.limits += outer.limits
        trace.losses_known = outer.losses_known
    trace.comms = {0: "<idle>"}
    table = EventTable(trace)
    table.header = found.header
    found.header.apply(trace)
    trace.cpus = sorted({*trace.cpus, *found.last})
    if found.header.any:
        _read_sample(table, sample)
    else:
        _set_clock(trace, form, clock or found.clock)
        trace.pointers_hashed = _read_sample(table, sample)
        _tell_limits(trace, form, found, sample)
    holes = _all_holes(trace, found, where, outer)
    _tell_odd(trace, form, found, where)
    plan = Plan(
        source,
        form,
        table,
        Programs(),
        Marks(holes, found.last),
        found,
        where,
        tuple(_losses(trace, holes, found, where)),
        dict(trace.comms),
        tuple(trace.notes),
    )
    trace._blocks = _passes(plan)
    return trace


def _passes(plan: Plan) -> Callable[[Trace], Iterator[EventBlock]]:
    return lambda trace: Pass(trace, plan).blocks()


def _find_form(source: Source) -> tuple[Form, list[Sampled]]:
    """The form most lines have, and the first lines that have it; FormatError when none has any."""
    at = looked = 0
    first: list[bytes] = []
    while at < source.size:
        piece = source.read_known(at, min(_SEARCH if at else _HEAD, source.size - at), "lines")
        lines = piece.split(b"\n")
        first = first or lines[:3]
        best = form_of(lines)
        if best is not None:
            own = ((read_prefix(best, line), line) for line in lines[: 8 * _SAMPLE])
            return best, list(islice(((p, line) for p, line in own if p is not None), _SAMPLE))
        if at + len(piece) >= source.size:
            break
        looked += len(lines) + (len(piece) >> 7)
        if looked > MOST_OTHERS:
            raise refuse_endless(looked, source.path)
        # The last line goes on in the next piece; one without an end is not searched twice.
        at += max(len(piece) - len(lines[-1]), len(piece) // 2)
    _refuse(source, first)
    raise AssertionError("not reached")


def _refuse(source: Source, lines: list[bytes]) -> None:
    head = source.read_known(0, min(_HEAD, source.size), "the first lines")
    hint = _HINT
    if b"\0" not in head and _GRAPH.search(head):
        hint = (
            "This looks like the function_graph tracer, whose lines do not tell the task: "
            "record events instead (trace-cmd record -e x86_fpu -e kvm:kvm_fpu -e sched ...)."
        )
    elif lines[0].startswith(b"# tracer: "):
        hint = (
            "The ring buffer was empty, or only its head was copied. Was tracing on, with events "
            "enabled, when it was read? trace_pipe empties what it shows."
        )
    elif _is_binary(head):
        hint = "It is binary, and not of a form that is known: was it cut, encrypted, or re-coded?"
    elif _lacks_cpu(head):
        hint = (
            "The lines do not tell the CPU: perf script --ns --show-lost-events "
            "-F comm,tid,cpu,time,event,trace prints it."
        )
    raise FormatError(f"{_EXPECTED}; {_quoted(lines)}", path=source.path, offset=0, hint=hint)


def _is_binary(head: bytes) -> bool:
    text = head[:4096].decode("utf-8", "replace")
    odd = sum(not (c.isprintable() or c.isspace()) or c == "\ufffd" for c in text)
    return odd * 8 > len(text)


def _lacks_cpu(head: bytes) -> bool:
    return (
        re.search(rb"\s\d{1,10} {1,40}\d{1,10}\.\d{6}(?:\d{3})?: {1,80}\w+:\w+: ", head) is not None
    )


def _quoted(lines: list[bytes]) -> str:
    return "found " + " and ".join(shown(line) for line in lines[:3])


def _name_of(form: Form, found: Index) -> str:
    if form.dash and found.tracer == "tracefs":
        return "tracefs text"
    if form.dash and found.tracer:
        return "trace-cmd report"
    return form.name


def _set_clock(trace: Trace, form: Form, clock: str | None) -> None:
    trace.clock = clock
    trace.clock_global = clock in GLOBAL_CLOCKS
    trace.clock_in_ns = not form.ticks and clock not in RAW_CLOCKS
    if clock is None:
        trace.limits.append(
            "The text does not name its clock; the kernel's own default is not in step across CPUs."
        )
    if form.ticks:
        trace.limits.append("Times are integers of a clock whose unit the text does not tell.")


def _read_sample(table: EventTable, sample: list[Sampled]) -> bool:
    """Learn the first events and their fields: the generation is asked before the first block.

    Returns whether pointers are hashed: %p prints 32 bits then (lib/vsprintf.c), and a kernel's
    addresses are above them.
    """
    pointers: set[int] = set()
    # Events say the same again and again.
    different = {line[prefix.end :]: (prefix, line) for prefix, line in sample}
    for prefix, line in different.values():
        named = split_name(line, prefix.end)
        if named is not None and not named.name.startswith("PERF_RECORD_"):
            event = table.settle(table.decode(named, line[named.args :]))
            fpu = event.fields.get("fpu")
            pointers.add(fpu if isinstance(fpu, int) else 0)
    pointers.discard(0)
    return bool(pointers) and max(pointers) < 1 << 32


def _tell_limits(trace: Trace, form: Form, found: Index, sample: list[Sampled]) -> None:
    if not form.ticks and all(prefix.ts % 1000 == 0 for prefix, _ in sample):
        trace.limits.append(
            "Times are in microseconds: events of different CPUs that are closer than that may "
            "stand in the wrong order."
        )
    if trace.pointers_hashed:
        trace.limits.append("Pointers are hashed: they tell one struct fpu from another, no more.")
    if trace.kernel is None:
        trace.limits.append(NO_RELEASE)
    if not form.dash:
        trace.losses_known = False
        trace.limits.append(
            "perf script shows losses only with --show-lost-events, and leaves out events of "
            "interrupts that KVM takes at a VM exit: nothing rests on an event that is absent. "
            "Give perf.data itself."
        )
    elif [held for _line, held, _written in found.written] != [found.events]:
        # Only tracefs' `trace` says how many lines there are.
        trace.whole_known = False
        trace.limits.append(UNCOUNTED)


def _all_holes(
    trace: Trace, found: Index, where: Callable[[int], str], outer: Unwrapped | None
) -> list[Hole]:
    """The holes that lines tell of, those the header tells of, and the end where it is damaged."""
    holes = list(found.holes)
    if found.written and found.written[0][1] < found.written[0][2]:
        number, held, written = found.written[0]
        said = f"{where(number)}: {written - held} of {written} events were overwritten"
        for cpu, first in found.first.items():
            count = written - held if len(found.first) == 1 else None
            holes.append(Hole(cpu, None, first, count, said))
    if found.cut is not None or (outer is not None and outer.damaged):
        said = f"{where(found.cut or found.lines)}: the last line has no end"
        if outer is not None and outer.damaged:
            said = outer.damaged
        holes += [Hole(cpu, last, None, None, said, "damaged") for cpu, last in found.last.items()]
        trace.notes.append(f"The file is truncated ({said}).")
    return holes


def _losses(
    trace: Trace, holes: list[Hole], found: Index, where: Callable[[int], str]
) -> Iterator[Loss]:
    """``Trace.losses`` of what is known before a pass: every hole once."""
    if found.header.any:
        yield from found.header.losses
        yield from losses_of(hole for hole in holes if hole.severity == "damaged")
        if found.header.count != found.events:
            told = "no end" if found.header.count is None else f"{found.header.count} events"
            yield Loss(
                None,
                None,
                None,
                None,
                f"the file has {found.events} events but tells of "
                f"{told}: it is truncated or was changed",
                False,
                "damaged",
            )
        return
    overwritten = found.written[0] if found.written else (0, 0, 0)
    lost = overwritten[2] - overwritten[1]
    many = lost > 0 and len(found.first) > 1
    own = f"{where(overwritten[0])}: {lost} of "
    yield from losses_of(
        hole for hole in holes if not (many and hole.after is None and hole.where.startswith(own))
    )
    if many:
        before = min(first.ts for first in found.first.values())
        yield Loss(None, None, before, lost, f"{own}{overwritten[2]} events were overwritten")
    if len(found.written) == 1 and found.events < overwritten[1]:
        gone = overwritten[1] - found.events
        yield Loss(
            None,
            None,
            None,
            gone,
            f"{where(overwritten[0])} tells of {overwritten[1]} events, the text has "
            f"{found.events}",
            placed=False,
            severity="damaged",
        )


def _tell_odd(trace: Trace, form: Form, found: Index, where: Callable[[int], str]) -> None:
    notes = trace.notes
    if found.odd:
        some = "; ".join(f"{where(number)}: {text}" for number, text in found.odd_lines)
        if found.odd == 1:
            notes.append(f"One line is no event and says nothing known: {some}.")
        else:
            notes.append(
                f"{found.odd:,} lines are no events and say nothing known, the first of them "
                f"{some}."
            )
    if len(found.written) == 1 and found.events < found.written[0][1]:
        number, held, _ = found.written[0]
        notes.append(
            f"The file is truncated, or lines were taken out: {where(number)} tells of {held} "
            f"events, the text has {found.events}."
        )
    if found.header.any and found.header.count != found.events:
        notes.append("The file is truncated or was changed: its events are not those it tells of.")
    if found.buffers:
        trace.instances = [name.decode("utf-8", "backslashreplace") for name in found.buffers]
        notes.append(
            f"Lines of several buffers or files ({', '.join(map(shown, found.buffers))}): only "
            f"those of {shown(found.own) if found.own else 'the one without a name'} are read."
        )
