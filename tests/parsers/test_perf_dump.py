"""The raw dump of ``perf script -D``: refused with the command that prints what can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.errors import FormatError

EVENT = """
0x5eb0@perf.data [0x68]: event: 9
.
. ... raw event: size 104 bytes
.  0000:  09 00 00 00 01 00 68 00 16 00 00 00 00 00 00 00  ......h.........

0 5534037144 0x5eb0 [0x68]: PERF_RECORD_SAMPLE(IP, 0x1): 207/207: 0xffffffffb663ceba period: 1
 ... thread: perf:207
 ...... dso: [kernel.kallsyms]
            perf   207 [000]     5.534037:    x86_fpu:x86_fpu_regs_deactivated: x86/fpu: \
0xffff8a2d81fac8c0 load: 0 xfeatures: 7 xcomp_bv: 0
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_raw_dump_is_named_and_refused(end: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes((EVENT * 5).replace("\n", end).encode())
    with pytest.raises(FormatError, match="perf script -D") as refused:
        fputrace.open(path)
    assert "-F comm,tid,cpu,time,event,trace" in (refused.value.hint or "")


def test_the_same_events_without_their_bytes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "text"
    events = [line for line in EVENT.splitlines() if "x86_fpu" in line]
    path.write_text("\n".join(events * 5) + "\n")
    with fputrace.open(path) as trace:
        assert list(trace.blocks())
        assert trace.counts == {"x86_fpu:x86_fpu_regs_deactivated": 5}
