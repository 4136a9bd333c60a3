"""The screen of ``timeline --interactive``: lanes, the events at the cursor, keys.

Everything from the trace is shown as ``rich.text.Text`` made of cleaned strings, never as markup.
Drawing never reads the trace; what must be read comes from a thread, and a later question makes
an earlier one give up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import DataTable, Footer, Static
from textual.worker import get_current_worker

from fputrace.errors import TraceError
from fputrace.pager.source import GaveUpError, Nearby, Source
from fputrace.pager.view import View
from fputrace.reports import outline, palette
from fputrace.reports.escape import clean
from fputrace.reports.lanes import STATE_WORDS
from fputrace.reports.steps import fields_text
from fputrace.reports.timeline import (
    FINDING_MARKS,
    LOSS_MARKS,
    axis_line,
    label_width,
    lane_pieces,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from textual import events

    from fputrace.findings import Analysis, WitnessEvent
    from fputrace.lanes import LaneGrid
    from fputrace.pyramid import Overview

_WIDE = 120
"""Columns from which on the events stand beside the lanes."""
_HIGH = 18
"""Rows from which on there is room for more than one thing at the cursor."""
_EVENTS = 100
"""Events before and after the cursor that are read at once."""
_LANE_ROWS = 2
"""Rows of a CPU: its lane and the marks below it."""
_HEAD_ROWS = 2
_MARKS = {
    "loss": "events are lost from here on",
    "cpu_end": "the recording of this CPU ends here",
}
_CUT = "more happened at this very time than is listed"

HELP = """\
left right h l        the cursor, a column on
PageUp PageDown H L   half a screen on
up down k j           another CPU
+ -                   zoom in and out at the cursor
0                     the whole trace
Home End g G          the begin and the end of the trace
n N                   the next finding or loss, the one before
Tab                   to the events and back; in them up and down
                      go from event to event, the cursor with them
a                     events of the cursor's CPU only, or of all
? q                   this help; quit

A lane shows what a CPU's registers held for most of a column's
time: {states}. Lighter: for a part of it.
Below a lane: ! an error, * a performance finding, x events lost,
~ not fully known. A click puts the cursor there.
"""


class Help(ModalScreen[None]):
    """The keys, over everything."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss_help", "close")
    ]

    def compose(self) -> ComposeResult:
        """One box."""
        states = ", ".join(f"{letter} {word}" for letter, word in STATE_WORDS.items())
        with VerticalScroll(id="help") as box:
            box.border_subtitle = "up and down scroll, Esc closes"
            yield Static(Text(HELP.format(states=states)))

    def action_dismiss_help(self) -> None:
        """Back to the trace."""
        self.dismiss()


class Lanes(Widget, can_focus=True):
    """The lanes of the CPUs that fit on the screen, with the cursor."""

    app: Pager

    def render(self) -> Text:
        """What the window holds now."""
        return self.app.drawn()

    def on_resize(self) -> None:
        """Another width: the same stretch in other columns."""
        self.app.fit()

    def on_click(self, event: events.Click) -> None:
        """The cursor goes where the mouse is."""
        self.app.point(event.x, event.y)


class Events(DataTable[Text], can_focus=True):
    """Events around the cursor; the row under the bar is the one at the time cursor."""


class Pager(App[None]):
    """One trace."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #title { height: 1; background: $panel; }
    #body { layout: vertical; height: 1fr; }
    #body.wide { layout: horizontal; }
    #left { height: auto; }
    .wide #left { height: 1fr; width: 1fr; }
    #told { background: $panel; padding: 0 1; }
    #found { display: none; padding: 1 1; height: 1fr; }
    .wide #found { display: block; }
    Events { height: 1fr; }
    .wide Events { height: 1fr; width: 42%; border-left: solid $panel; }
    Help { align: center middle; }
    #help { width: 72; max-width: 100%; height: auto; max-height: 100%; padding: 0 2;
            border: round $accent; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q,ctrl+c", "quit", "quit"),
        Binding("n", "stop(False)", "next finding/loss"),
        Binding("N", "stop(True)", "previous", key_display="N"),
        Binding("plus,equals_sign", "zoom(0.5)", "in", key_display="+"),
        Binding("minus", "zoom(2)", "out", key_display="-"),
        Binding("0", "whole", "whole"),
        Binding("tab", "other", "events", priority=True),
        Binding("a", "all", show=False),
        Binding("left,h", "move(-1)", show=False),
        Binding("right,l", "move(1)", show=False),
        Binding("pageup,H,shift+left", "turn(-0.5)", show=False),
        Binding("pagedown,L,shift+right", "turn(0.5)", show=False),
        Binding("up,k", "cpu(-1)", show=False),
        Binding("down,j", "cpu(1)", show=False),
        Binding("home,g", "end(True)", show=False),
        Binding("end,G", "end(False)", show=False),
    ]

    def __init__(
        self,
        analysis: Analysis,
        overview: Overview,
        window: tuple[int | None, int | None] | None = None,
        owners: Collection[int] | None = None,
        ascii_only: bool = False,
    ) -> None:
        super().__init__()
        self.source = Source(analysis, overview, owners)
        self.path = analysis.trace.path
        candidates = analysis.generation.candidates
        self.about = f"{analysis.trace.kernel or 'kernel not recorded'}, {' or '.join(candidates)}"
        self.ascii = ascii_only
        self.clock = outline.clock_of(analysis.trace)
        self.findings = outline.sorted_findings(analysis.findings)
        self.names = {finding.code: finding.name for finding in analysis.findings}
        self.cpus = overview.cpus
        self.view = View.of(overview.start_ns, overview.end_ns, 60)
        self.wanted = window
        self.chosen = 0
        self.top = 0
        self.one_cpu = False
        self.nearby: Nearby | None = None
        self.asked: tuple[int, ...] | None = None
        self.shown: list[WitnessEvent] = []
        self.grid: LaneGrid | None = None
        self.sharp = True
        self.window: tuple[int, int, int, tuple[int, ...]] | None = None
        self.busy = 0
        self.trouble = ""
        self.filling = False

    def compose(self) -> ComposeResult:
        """A line about the trace; lanes and events; what the cursor is on; keys."""
        yield Static(id="title")
        with Container(id="body"):
            with Container(id="left"):
                yield Lanes()
                yield Static(id="told")
                with VerticalScroll(id="found", can_focus=False):
                    yield Static(self._findings())
            yield Events(show_header=False, cursor_type="row", zebra_stripes=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Columns of the list."""
        self.query_one(Events).add_columns("time", "cpu", "event")
        self.query_one(Lanes).focus()

    def on_resize(self, event: events.Resize) -> None:
        """Events beside the lanes where there is room; no height changes with what is shown."""
        wide, height = event.size.width >= _WIDE, event.size.height - 2
        self.query_one("#body").set_class(wide, "wide")
        most = max(_HEAD_ROWS + _LANE_ROWS, int(height * (0.6 if wide else 0.5)))
        needed = _HEAD_ROWS + _LANE_ROWS * len(self.cpus)
        self.query_one(Lanes).styles.height = min(needed, most)
        self.query_one("#told").styles.height = 4 if height >= _HIGH else 2

    def _findings(self) -> Text:
        """One line each, for the room below the lanes."""
        text = Text.assemble(("Findings\n" if self.findings else "No findings\n", "bold"))
        for finding in self.findings:
            line = Text.assemble((f"{finding.code} ", palette.style(finding.severity.value)))
            who = f" {outline.task(finding.comm, finding.pid)}" if finding.pid is not None else ""
            line.append(
                clean(
                    f"{finding.name}, {finding.verdict.value}, "
                    f"{outline.plural(finding.count, 'time')}{who}",
                    self.ascii,
                ),
            )
            text.append_text(line)
            text.append("\n")
        return text

    # -- drawing --------------------------------------------------------------------------------

    @property
    def label(self) -> int:
        """Columns of the CPUs' names."""
        return label_width(self.cpus)

    @property
    def rows(self) -> int:
        """CPUs that fit."""
        height = self.query_one(Lanes).size.height
        return max(1, (height - _HEAD_ROWS) // _LANE_ROWS)

    def fit(self) -> None:
        """The window as wide as the lanes are now."""
        columns = max(self.query_one(Lanes).size.width - self.label, 8)
        self.view = self.view.resized(columns)
        if self.wanted is not None:
            start, end = self.wanted
            low = self.view.first if start is None else start
            high = self.view.last if end is None else end
            self.wanted = None
            self.view = self.view.at(low).shown(low, high - low)
        self.look()

    def look(self) -> None:
        """Draw the window as well as is known, and have read what is not."""
        rows = self.rows
        self.chosen = min(max(self.chosen, 0), len(self.cpus) - 1)
        self.top = min(max(self.top, self.chosen - rows + 1), self.chosen)
        self.top = max(0, min(self.top, len(self.cpus) - rows))
        view = self.view
        visible = self.cpus[self.top : self.top + rows]
        window = (view.start, view.end, view.columns, visible)
        if window != self.window or not self.sharp:
            self.grid, self.sharp = self.source.lanes(*window)
            if not self.sharp and window != self.window:
                self.read_spans(*window)
            self.window = window
        self.look_at_events()
        self.tell()

    def look_at_events(self) -> None:
        """List them; before the list ends it is read anew, and shown as it is meanwhile."""
        near, cursor = self.nearby, self.view.cursor
        cpus = (self.cpus[self.chosen],) if self.one_cpu else self.cpus
        good = near is not None and near.cpus == cpus and near.start <= cursor <= near.end
        listed = good or (near is not None and near.shows(cursor))
        # A list that still shows the cursor can wait: keys do not begin its reading anew.
        if not good and not (listed and self.asked == cpus):
            self.asked = cpus
            self.read_events(cursor, cpus)
        if listed:
            self.list_events()

    def tell(self) -> None:
        """The lines around the drawing, and the drawing."""
        view, clock = self.view, self.clock
        state = "reading ..." if self.busy else "" if self.sharp else "not sharp"
        said = self.trouble or state
        title = Text(
            clean(f"{self.path}  {self.about}", self.ascii), no_wrap=True, overflow="ellipsis"
        )
        title.stylize("bold", 0, len(clean(self.path, self.ascii)))
        if said:
            title = Text.assemble((f" {clean(said, self.ascii)} ", "reverse"), " ", title)
            title.no_wrap, title.overflow = True, "ellipsis"
        self.query_one("#title", Static).update(title)
        place = f"{clock.at(view.cursor)}, CPU {self.cpus[self.chosen]}: "
        told = Text.assemble((place, "bold"), self._held())
        told.append("".join(f"\n{line}" for line in self._marked()))
        self.query_one("#told", Static).update(told)
        self.query_one(Lanes).refresh()

    def _held(self) -> str:
        """What the registers under the cursor hold."""
        if self.grid is None:
            return ""
        lane = self.grid.cells[self.chosen - self.top]
        cell = lane[min(max(self.view.column, 0), len(lane) - 1)]
        words = STATE_WORDS.get(cell.state, cell.state)
        if cell.owner > 0 and cell.state in palette.FILLED:
            comm = self.source.comms.get(cell.owner, "<...>")
            words += f" of {clean(outline.task(comm, cell.owner), self.ascii)}"
        return words if cell.share > 0.995 else f"mostly {words} ({cell.share:.0%})"

    def _marked(self) -> list[str]:
        """Findings and losses in the column of the cursor, on any CPU; the first few."""
        view = self.view
        low = view.time_of(view.column)
        high = max(low, view.time_of(view.column + 1) - 1)
        said: dict[str, int] = {}
        for mark in self.source.stops:
            if mark.start_ns <= high and mark.end_ns >= low:
                if mark.what == "lost":
                    words = f"CPU {mark.cpu}: events lost until {self.clock.at(mark.end_ns)}"
                else:
                    words = f"CPU {mark.cpu}: {mark.code} {self.names.get(mark.code, '')}".rstrip()
                said[words] = said.get(words, 0) + 1
        return [f"{words} (x{n})" if n > 1 else words for words, n in list(said.items())[:3]]

    def drawn(self) -> Text:
        """The lanes of the window."""
        text = Text(no_wrap=True, end="")
        if self.grid is None:
            return text
        view, clock = self.view, self.clock
        start, end = clock.at(view.start), clock.at(view.end)
        each = clock.length(view.step)
        text.append(f"{start} to {end}, one column is {each}\n", "dim")
        axis = axis_line(self.grid, clock, view.columns)
        text.append(" " * self.label + axis.ljust(view.columns) + "\n", "dim")
        for number, (cpu, lane) in enumerate(zip(self.grid.cpus, self.grid.cells, strict=True)):
            here = number + self.top == self.chosen
            row = Text.assemble((f"CPU {cpu}".ljust(self.label), "bold reverse" if here else ""))
            for piece, kind in lane_pieces(lane, self.ascii):
                style = palette.style(kind)
                row.append(piece, style if self.sharp else f"{style} dim")
            marks = Text(" " * self.label)
            for cell in lane:
                if cell.finding in FINDING_MARKS:
                    marks.append(FINDING_MARKS[cell.finding], palette.style(cell.finding))
                elif cell.loss in LOSS_MARKS:
                    marks.append(LOSS_MARKS[cell.loss], palette.style(cell.loss))
                else:
                    marks.append(" ")
            column = self.label + view.column
            for line in (row, marks):
                line.stylize("reverse" if here else "underline", column, column + 1)
                text.append_text(line)
                text.append("\n")
        return text

    def list_events(self) -> None:
        """The events that were read, the bar on the first at or after the cursor."""
        table, near = self.query_one(Events), self.nearby
        if near is None:
            return
        cpu = self.cpus[self.chosen]
        shown = [event for event in near.events if not self.one_cpu or event.cpu == cpu]
        changed = shown != self.shown
        if table.has_focus and not changed:
            return  # the bar leads
        self.filling = True
        cursor = self.view.cursor
        row = next((n for n, e in enumerate(shown) if e.ns >= cursor), len(shown) - 1)
        above = table.size.height // 2
        if changed:
            # Of several events at one time the bar stays on its own, and where it is.
            barred = self.shown[table.cursor_row : table.cursor_row + 1]
            if barred and barred[0].ns == cursor and barred[0] in shown:
                row = shown.index(barred[0])
                above = table.cursor_row - round(table.scroll_y)
            self.shown = shown
            table.clear()
            for event in shown:
                table.add_row(*self._cells(event))
            if near.cut:
                table.add_row(Text(), Text(), Text(f"-- {_CUT} --", "bold"))
        if shown:
            table.move_cursor(row=row, animate=False, scroll=False)
            table.scroll_to(y=max(0, row - above), animate=False)
        self.call_after_refresh(self._filled)

    def _filled(self) -> None:
        self.filling = False

    def _cells(self, event: WitnessEvent) -> tuple[Text, Text, Text]:
        name = event.name.partition(":")[2] or event.name
        clock = self.clock
        at = f"{event.ns / 1e9:.6f}" if clock.in_ns else str(event.ns)
        if event.pid < 0:
            what = Text(f"-- {_MARKS.get(name, name)} --", "bold")
        else:
            fields = fields_text(event, self.source.comms)
            who = clean(outline.task(event.comm, event.pid), self.ascii)
            named = (clean(name.removeprefix("x86_fpu_"), self.ascii), "bold")
            what = Text.assemble((f"{who} ", "dim"), named, clean(f" {fields}", self.ascii))
        return Text(at), Text(f"{event.cpu:>3}"), what

    # -- reading --------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, group="spans", exit_on_error=False)
    def read_spans(self, start: int, end: int, columns: int, cpus: tuple[int, ...]) -> None:
        """What is in a window, and what is around it."""
        worker = get_current_worker()
        self._read(
            lambda: self.source.fetch(start, end, columns, cpus, lambda: worker.is_cancelled)
        )

    @work(thread=True, exclusive=True, group="events", exit_on_error=False)
    def read_events(self, ns: int, cpus: tuple[int, ...]) -> None:
        """Events of these CPUs around a time."""
        worker = get_current_worker()

        def read() -> None:
            self.nearby = self.source.events(ns, _EVENTS, cpus, lambda: worker.is_cancelled)
            self.asked = None

        self._read(read)

    def _read(self, read: Callable[[], None]) -> None:
        """Read in this thread; the screen says so meanwhile, and is drawn anew afterwards."""
        self.busy += 1
        self.call_from_thread(self.tell)
        try:
            read()
        except GaveUpError:
            return
        except (TraceError, OSError) as error:
            self.trouble = str(error)
            return
        finally:
            self.busy -= 1
            if self.is_running:
                self.call_from_thread(self.tell)
        if self.is_running:
            self.call_from_thread(self.look)

    # -- keys -----------------------------------------------------------------------------------

    def go(self, view: View) -> None:
        """Show another window."""
        self.view = view
        self.look()

    def action_move(self, columns: int) -> None:
        """The cursor some columns on."""
        self.go(self.view.moved(columns))

    def action_turn(self, pages: float) -> None:
        """Some screens on."""
        self.go(self.view.turned(pages))

    def action_zoom(self, factor: float) -> None:
        """In or out, at the cursor."""
        self.go(self.view.zoomed(factor))

    def action_whole(self) -> None:
        """All of the trace."""
        self.go(self.view.whole())

    def action_end(self, begin: bool) -> None:
        """The begin or the end of the trace."""
        self.go(self.view.at(self.view.first if begin else self.view.last - 1))

    def action_cpu(self, step: int) -> None:
        """Another CPU."""
        self.chosen += step
        self.look()

    def action_all(self) -> None:
        """Events of one CPU, or of all."""
        self.one_cpu = not self.one_cpu
        self.look()

    def action_stop(self, back: bool) -> None:
        """The next finding or loss, or the one before."""
        mark = self.source.next_stop(self.view.cursor, back)
        if mark is None:
            side = "before" if back else "after"
            self.notify(f"There is no finding and no loss {side} this.", timeout=3)
            return
        self.chosen = self.cpus.index(mark.cpu) if mark.cpu in self.cpus else self.chosen
        self.go(self.view.at(mark.start_ns))

    def action_other(self) -> None:
        """From the lanes to the events, or back."""
        table = self.query_one(Events)
        (self.query_one(Lanes) if table.has_focus else table).focus()

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(Help())

    def point(self, x: int, y: int) -> None:
        """The cursor to a place of the lanes."""
        row = (y - _HEAD_ROWS) // _LANE_ROWS + self.top
        if y >= _HEAD_ROWS and row < len(self.cpus):
            self.chosen = row
        column = min(max(x - self.label, 0), self.view.columns - 1)
        self.go(self.view.at(self.view.time_of(column)))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """The cursor follows the bar while the list has the keys."""
        table = event.data_table
        if self.filling or not table.has_focus or event.cursor_row != table.cursor_row:
            return  # it was moved by list_events, or has moved on since
        if event.cursor_row < len(self.shown):
            chosen = self.shown[event.cursor_row]
            if chosen.cpu in self.cpus:
                self.chosen = self.cpus.index(chosen.cpu)
            self.go(self.view.at(chosen.ns))
