"""The event table of one recording: ids to kinds, operands and names, as the walk wants them."""

from __future__ import annotations

import numpy as np

from fputrace.events import ABSENT, EventFormat, FormatField, Kind, Trace
from fputrace.parsers import layout
from fputrace.parsers.formats import Common, choose_common, common_of, decoder_of, is_string
from fputrace.parsers.probes import recognise
from fputrace.parsers.symbols import Symbols

_COMMS: dict[Kind, tuple[tuple[str, str], ...]] = {
    Kind.SCHED_SWITCH: (("prev_pid", "prev_comm"), ("next_pid", "next_comm")),
    Kind.SCHED_PROCESS_FORK: (("child_pid", "child_comm"),),
    Kind.SCHED_PROCESS_EXEC: (("pid", "filename"),),
}
"""Where an event names a task: its pid and its comm, or for exec the file it runs."""


class EventTable:
    """Grows when ids without a format or new probe addresses turn up.

    ``index_of`` maps an event id to its index, ``rows`` are the walk's table (see
    :mod:`fputrace.parsers.layout`), ``ips`` its hash table of probed addresses.
    """

    def __init__(self, trace: Trace, forms: list[EventFormat], symbols: Symbols) -> None:
        self.trace = trace
        self.symbols = symbols
        self.common: Common = choose_common(forms)
        self.formats: list[EventFormat | None] = []
        self.index_of = np.full((1 << 16) + 1, -1, dtype=np.int32)
        self.rows = np.zeros((len(forms) + 16) * layout.TABLE, dtype=np.int64)
        self.known_ips: dict[tuple[int, int], int] = {}
        self._make_ips(64)
        for form in forms:
            self._add_format(form)

    def _add(self, form: EventFormat | None, key: str, number: int, kind: Kind) -> int:
        index = len(self.formats)
        self.formats.append(form)
        self.trace.event_names.append(key)
        self.trace.event_kinds.append(kind)
        if len(self.rows) < (index + 1) * layout.TABLE:
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
        self._blank(index, kind)
        if self.index_of[number] < 0:
            self.index_of[number] = index
        return index

    def _add_format(self, form: EventFormat) -> None:
        decoder = decoder_of(form)
        kind = decoder.kind
        missing = list(decoder.missing)
        if kind is not Kind.OTHER and common_of(form) not in (None, self.common):
            missing.append("common fields where the other events have them")
        if missing:
            self.trace.unusable[form.key] = missing
            kind = Kind.OTHER
        index = self._add(form, form.key, min(form.id, 1 << 16), kind)
        if missing:
            return
        row = self.rows[index * layout.TABLE :]
        row[layout.NEED] = decoder.need
        if decoder.ip is not None:
            row[layout.IP_OFF], row[layout.IP_SIZE] = decoder.ip.offset, decoder.ip.size
        for i, operand in enumerate(decoder.operands):
            if operand is not None:
                _set_operand(row, i, operand)
        self._add_comms(form, kind, row)

    def disable(self, index: int) -> None:
        """Make an event one of no kind: what there is of it is counted and proves nothing."""
        self._blank(index, Kind.OTHER)
        self.trace.event_kinds[index] = Kind.OTHER

    def _blank(self, index: int, kind: Kind) -> None:
        """An event's row that tells its kind and nothing else."""
        row = self.rows[index * layout.TABLE : (index + 1) * layout.TABLE]
        row[:] = 0
        row[layout.KIND] = kind
        row[layout.IP_OFF] = row[layout.COMM_PID] = row[layout.COMM_PID2] = -1
        row[layout.REACH] = 8
        row[layout.OPERAND + layout.FLIP :: layout.OPERAND_SIZE] = ABSENT

    def _add_comms(self, form: EventFormat, kind: Kind, row: np.ndarray) -> None:
        fields = {field.name: field for field in form.fields}
        pairs = [
            (fields[pid], fields[comm])
            for pid, comm in _COMMS.get(kind, ())
            if pid in fields and comm in fields and fields[pid].size == 4
        ]
        if not pairs:
            return
        row[layout.COMM_SIZE] = self._comm_size([comm for _, comm in pairs])
        row[layout.COMM_PID], row[layout.COMM_OFF] = pairs[0][0].offset, pairs[0][1].offset
        if len(pairs) > 1:
            row[layout.COMM_PID2], row[layout.COMM_OFF2] = pairs[1][0].offset, pairs[1][1].offset

    @staticmethod
    def _comm_size(comms: list[FormatField]) -> int:
        """Size of fixed comms; 0 when each must be looked up in its record."""
        sizes = {comm.size for comm in comms if is_string(comm) and not comm.dynamic}
        fixed = all(is_string(comm) and not comm.dynamic for comm in comms)
        return min(sizes) if fixed and max(sizes) <= 64 else 0

    def _make_ips(self, size: int) -> None:
        """An open hash table of (address, index, kind), kind -1 where free."""
        self.ips = np.full(size * 3, -1, dtype=np.int64)
        for (address, index), kind in self.known_ips.items():
            self._put_ip(address, index, kind)

    def _put_ip(self, address: int, index: int, kind: int) -> None:
        mask = len(self.ips) // 3 - 1
        slot = (address ^ address >> 12 ^ index * 31) & mask
        while self.ips[slot * 3 + 2] >= 0:
            slot = slot + 1 & mask
        self.ips[slot * 3 : slot * 3 + 3] = (address, index, kind)

    def learn(self, number: int, payload: bytes, order: str) -> None:
        """Decide what the walk asks about: an id without a format, or a new probed address."""
        number = min(number, 1 << 16)  # common_type has 16 bits; what is more shares one name
        index = int(self.index_of[number])
        if index < 0:
            self._add(None, f"unknown:{number}", number, Kind.OTHER)
            return
        row = self.rows[index * layout.TABLE :]
        at, size = int(row[layout.IP_OFF]), int(row[layout.IP_SIZE])
        signed = size == 8  # 64-bit addresses are kept as their two's complement
        address = int.from_bytes(payload[at : at + size], order, signed=signed)  # type: ignore[arg-type]
        form = self.formats[index]
        assert form is not None
        kind = recognise(self.trace, self.symbols, form, address)
        self.known_ips[(address, index)] = kind
        if len(self.known_ips) * 2 > len(self.ips) // 3:
            self._make_ips(len(self.ips) // 3 * 4)
        else:
            self._put_ip(address, index, kind)


def _set_operand(row: np.ndarray, number: int, field: FormatField) -> None:
    """Tell the walk where an operand is, and how to take it out of the eight bytes there."""
    place = layout.OPERAND + number * layout.OPERAND_SIZE
    row[place], row[place + 1] = field.offset, field.size
    bits = 8 * field.size
    sign = 1 << bits - 1 if field.signed and bits < 64 else 0
    row[place + layout.MASK] = (1 << bits) - 1 if bits < 64 else -1
    row[place + layout.FLIP] = row[place + layout.LESS] = sign
    row[layout.FULL] = max(row[layout.FULL], field.offset + field.size)
    row[layout.REACH] = max(row[layout.REACH], field.offset + 8)
