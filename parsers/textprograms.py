"""What the compiled walk knows of a text: names of events, flags, and what arguments look like.

Everything here is learned from lines that were read in plain Python, so that the walk can do no
more than read further lines as those were: a program is one row of
:data:`~fputrace.parsers.shapes.SHAPES` step by step, and holds only for names it was met with.
"""

from __future__ import annotations

import re

import numpy as np

from fputrace.events import ABSENT, KindSpec
from fputrace.lines import textlayout as layout
from fputrace.lines import textwalk
from fputrace.parsers.shapes import FREE, Part, Shape, parts_of, shapes_of
from fputrace.parsers.textevents import FUNCTION, Event, Named, spec_named
from fputrace.parsers.words import plugin_state_number, state_number, symbol_number

_MOST_PROGRAMS = 24  # of one name

_TOKEN = re.compile(rb"[A-Za-z|+]{1,32}(?![A-Za-z0-9_|+])")  # a word as shapes.py reads it
_LOOSE = frozenset({"comm", "rest", "word"})
"""Types that hold anything at all: a row with one takes texts of rows before it as well."""

_NUMBER = re.compile(r"(?:0x[0-9a-fA-F]{1,16}|-?[0-9]{1,18})$")
_ASSIGNED = re.compile(r" ?([A-Za-z_][A-Za-z0-9_]{0,63}=)(\S+)")
_Steps = list[tuple[int, int, int, int]]


class Programs:
    """The tables of :mod:`fputrace.lines.textlayout`; they only grow, and stop when full."""

    def __init__(self) -> None:
        self._pool = np.zeros(layout.POOL + layout.PADDING, dtype=np.uint8)
        self._pooled: dict[bytes, int] = {}
        self._pool_end = 0
        self._names = np.zeros(layout.NAME_SLOTS * layout.NAME, dtype=np.int64)
        self._flags = np.zeros(layout.FLAG_SLOTS * layout.FLAG, dtype=np.int64)
        self._steps = np.zeros(layout.MOST_STEPS * layout.STEP, dtype=np.int64)
        self._steps_end = 0
        self._words = np.zeros(layout.MOST_TABLES * layout.TABLE, dtype=np.int64)
        self._tables: dict[tuple[str, str], int] = {}
        self._known: dict[bytes, list[tuple[int, _Steps, int]]] = {}
        self._slots: dict[bytes, int] = {}
        self.learned = 0
        """How often what the walk does with a line's end has changed."""
        self.views = [
            layout.view(table)
            for table in (self._pool, self._names, self._flags, self._steps, self._words)
        ]

    def learn_flags(self, word: bytes, value: int) -> None:
        """What a column of flags means."""
        if not word:
            return
        slot = textwalk.flag_slot(word + bytes(8), len(word))
        place = self._place(word)
        for _ in range(layout.MOST_PROBES):
            row = self._flags[slot * layout.FLAG : (slot + 1) * layout.FLAG]
            if row[1] == 0 and place >= 0:
                row[:] = (place, len(word), value)
            if row[1] == 0 or bytes(self._pool[row[0] : row[0] + row[1]]) == word:
                return
            slot = slot + 1 & layout.FLAG_SLOTS - 1

    def learn(self, named: Named, event: Event, number: int, args: str) -> None:
        """How an event was read: its name, its number, and the text of its arguments."""
        name = f"{named.name}:".encode() if named.colon else named.name.encode()
        if event.broken or len(name) > layout.PADDING or b"\\" in name:
            return
        if event.shape is not None and event.kind == event.shape.kind:
            self._learn_shape(name, number, event.shape, args)
        elif event.key == FUNCTION:
            literal = "<-" if not named.colon else args
            last = layout.OP_REST if not named.colon else layout.OP_END
            self._add(name, number, 0, int(event.kind), [("", literal), (last, "")])
        elif "__probe_ip" in event.fields or "__probe_func" in event.fields:
            self._learn_probe(name, number, event, args)
        elif name not in self._slots:
            self._put_name(name, number, -1)

    def _learn_probe(self, name: bytes, number: int, event: Event, args: str) -> None:
        """``(FUNC+0x0/0x80) arg=0x1 arg=2``, or ``__probe_ip=... arg=...``."""
        head = re.match(r"\([^()]*\)|(?:__probe_\w+=\S+ ?)+", args)
        if head is None:
            return
        steps: list[tuple[int | str, str]] = [("", head[0])]
        at, slot = head.end(), 0
        names = set()
        while at < len(args):
            field = _ASSIGNED.match(args, at)
            if field is None or _NUMBER.match(field[2]) is None or field[1] in names:
                return
            names.add(field[1])
            steps += [("", args[at : field.end(1)]), (layout.OP_NUMBER, str(min(slot, 4)))]
            at, slot = field.end(), slot + 1
        self._add(name, number, 0, int(event.kind), [*steps, (layout.OP_END, "")])

    def _add(
        self, name: bytes, number: int, order: int, kind: int, parts: list[tuple[int | str, str]]
    ) -> None:
        """A program of literals (no code) and numbers, whose text is their slot."""
        steps: _Steps = []
        for code, text in parts:
            if code == "":
                if not self._literal(steps, text):
                    return
            else:
                slot = int(text) if text else 0
                steps.append((int(code), slot if slot < 4 else -1, 0, 0))
        self._put_program(name, number, order, kind, steps)

    def _learn_shape(self, name: bytes, number: int, shape: Shape, args: str) -> None:
        spec = spec_named(f"{shape.system}:{name.rstrip(b':').decode().rpartition(':')[2]}")
        if spec is None:
            return
        rows = shapes_of(f"{shape.system}:{name.rstrip(b':').decode().rpartition(':')[2]}")
        order = rows.index(shape)
        # What holds anything at all would also take what an earlier row reads otherwise.
        loose = any(part.type in _LOOSE for part in parts_of(shape.template))
        wanted = rows[: order + 1] if loose else (shape,)
        programs = []
        for row in wanted:
            steps = self._steps_of(row, spec)
            if steps is None:
                return
            programs.append((rows.index(row), steps))
        for place, steps in programs:
            self._put_program(name, number, place, int(shape.kind), steps)
        self._learn_words(shape, args)

    def _steps_of(self, shape: Shape, spec: KindSpec) -> _Steps | None:
        """A row of SHAPES step by step, None when it needs what a step cannot do."""
        steps: _Steps = []
        parts = parts_of(shape.template)
        told = {part.text for part in parts if part.type} | set(shape.constants)
        slots: dict[str, int] = {}
        for slot, operand in enumerate(spec.operands):
            field = next((field for field in operand.fields if field in told), None)
            if field is not None:
                slots[field] = slot
        for field, value in shape.constants.items():
            if field in slots:
                steps.append((layout.OP_SET, slots[field], value, 0))
        for part, follower in zip(parts, (*parts[1:], None), strict=True):
            if not part.type:
                if not self._literal(steps, part.text):
                    return None
                continue
            step = self._field_step(shape, part, slots.get(part.text, -1), follower)
            if step is None:
                return None
            steps.append(step)
        if steps[-1][0] != layout.OP_REST:
            steps.append((layout.OP_END, 0, 0, 0))
            free = [
                i for i, step in enumerate(steps) if step[0] in (layout.OP_FREE, layout.OP_NAMED)
            ]
            if free and steps[free[-1]][0] == layout.OP_FREE:
                steps[free[-1]] = (layout.OP_FREE, 0, 1, 0)
        return steps

    def _field_step(
        self, shape: Shape, part: Part, slot: int, follower: Part | None
    ) -> tuple[int, int, int, int] | None:
        if part.type == "dec":
            padded = bool(part.width) and not part.width.startswith("0")
            return layout.OP_DEC, slot, 0, int(padded)
        if part.type == "neg":
            return layout.OP_DEC, slot, 1, 0
        if part.type in ("hex", "ptr"):
            return layout.OP_HEX, slot, 0, 0
        if part.type == "word":
            return layout.OP_WORD, 0, 0, 0
        if part.type in ("state", "plugin_state", "one"):
            return layout.OP_TOKEN, slot, self._table(shape, part), 0
        if part.type in FREE and (follower is None or follower.type):
            return (layout.OP_REST, 0, 0, 0) if part.type != "sym" and follower is None else None
        if part.type == "sym":
            return layout.OP_NAMED, slot, self._table(shape, part), 0
        return (layout.OP_FREE, 0, 0, 0) if part.type in FREE else None

    def _table(self, shape: Shape, part: Part) -> int:
        """The table of words for a field; tables are shared when they mean the same."""
        if part.type in ("state", "plugin_state"):
            key = (part.type, "")
        else:
            key = (f"{shape.system}:{shape.name}", part.text)
        return self._tables.setdefault(key, min(len(self._tables), layout.MOST_TABLES - 1))

    def _learn_words(self, shape: Shape, args: str) -> None:
        """The words that a text holds where a step looks them up."""
        text = args.encode("utf-8", "backslashreplace")
        at = 0
        parts = parts_of(shape.template)
        for part, follower in zip(parts, (*parts[1:], None), strict=True):
            if not part.type:
                found = text.find(part.text.encode(), at)
                if found < 0:
                    return
                at = found + len(part.text)
            elif part.type in ("state", "plugin_state", "one"):
                token = _TOKEN.match(text, at)
                if token is not None:
                    self._learn_word(shape, part, token[0])
            elif part.type == "sym" and follower is not None:
                found = text.find(follower.text.encode(), at)
                if found >= 0:
                    self._learn_word(shape, part, text[at:found])

    def _learn_word(self, shape: Shape, part: Part, word: bytes) -> None:
        text = word.decode("ascii", "replace")
        value: int | None
        if part.type == "state":
            value = state_number(text)
        elif part.type == "plugin_state":
            value = plugin_state_number(text)
        elif part.type == "one":
            if text not in shape.symbols[part.text]:
                return
            value = shape.symbols[part.text][text]
        else:
            value = symbol_number(shape.symbols[part.text], text)
            if value is not None and value >= 1 << 63:
                return  # asked about each time
        place = self._place(word)
        start = self._table(shape, part) * layout.TABLE
        table = self._words[start : start + layout.TABLE]
        count = int(table[0])
        pairs = [tuple(table[1 + 3 * i : 3 + 3 * i].tolist()) for i in range(count)]
        full = count == layout.TABLE_ROOM or len(self._tables) > layout.MOST_TABLES
        if place < 0 or not 0 < len(word) <= 64 or (place, len(word)) in pairs or full:
            return
        table[1 + 3 * count : 4 + 3 * count] = (
            place,
            len(word),
            ABSENT if value is None else value,
        )
        table[0] = count + 1
        self.learned += 1

    # The tables themselves

    def _place(self, text: bytes) -> int:
        """Where a piece of text stands in the pool, -1 when there is no room for it."""
        place = self._pooled.get(text)
        if place is None:
            place = self._pool_end
            if len(text) > layout.PADDING or place + len(text) > layout.POOL or b"\n" in text:
                return -1
            self._pool[place : place + len(text)] = np.frombuffer(text, dtype=np.uint8)
            self._pool_end += len(text)
            self._pooled[text] = place
        return place

    def _literal(self, steps: _Steps, text: str) -> bool:
        data = text.encode("utf-8", "backslashreplace")
        place = self._place(data)
        if place < 0 or "\\" in text:
            return False
        if data:
            steps.append((layout.OP_LITERAL, place, len(data), 0))
        return True

    def _put_program(self, name: bytes, number: int, order: int, kind: int, steps: _Steps) -> None:
        """Add a program to a name's, which are tried in the order of SHAPES."""
        known = self._known.setdefault(name, [])
        if any(old == steps and of == kind for _, old, of in known):
            return
        if len(known) >= _MOST_PROGRAMS:
            return
        known.append((order, steps, kind))
        known.sort(key=lambda entry: entry[0])
        need = sum(1 + len(body) for _, body, _ in known)
        start = self._steps_end
        if start + need > layout.MOST_STEPS:
            return
        self._steps_end += need
        at = start
        for i, (_, body, of) in enumerate(known):
            behind = at + 1 + len(body) if i + 1 < len(known) else -1
            for step in ((of, behind, 0, 0), *body):
                self._steps[at * layout.STEP : (at + 1) * layout.STEP] = step
                at += 1
        self._put_name(name, number, start)

    def _put_name(self, name: bytes, number: int, program: int) -> None:
        place = self._place(name)
        slot = self._slots.get(name)
        if slot is None and place >= 0:
            slot = textwalk.name_slot(name, len(name))
            for _ in range(layout.MOST_PROBES):
                if self._names[slot * layout.NAME + 1] == 0:
                    break
                slot = slot + 1 & layout.NAME_SLOTS - 1
            else:
                return
            self._slots[name] = slot
        if slot is not None:
            row = self._names[slot * layout.NAME : (slot + 1) * layout.NAME]
            row[:] = (place, len(name), number, program)
            self.learned += 1
