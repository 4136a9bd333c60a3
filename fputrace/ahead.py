"""Reading ahead: blocks are read in a thread while the one before is replayed.

The compiled loops give up the GIL, so two cores share the work; without them it costs nothing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fputrace.events import EventBlock

_DEPTH = 2
"""Blocks that wait at most: memory stays bounded, and neither side waits for long."""


def ahead(blocks: Iterator[EventBlock]) -> Iterator[EventBlock]:
    """The same blocks in the same order; what reading raises is raised here, in its place.

    Giving the iterator up (``close``, an exception in its user) ends the thread.
    """
    waiting: queue.Queue[EventBlock | BaseException | None] = queue.Queue(_DEPTH)
    given_up = threading.Event()

    def put(item: EventBlock | BaseException | None) -> bool:
        while not given_up.is_set():
            try:
                waiting.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for block in blocks:
                if not put(block):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by whoever asks for the block
            put(error)
        else:
            put(None)

    reader = threading.Thread(target=read, name="fputrace-read", daemon=True)
    reader.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        given_up.set()
        reader.join()
        close = getattr(blocks, "close", None)
        if close is not None:
            close()
