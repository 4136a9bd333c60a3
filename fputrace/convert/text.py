"""Text: the lines of ``trace-cmd report -t``, with what a text alone would lose as comments.

A line is ``%16s-%-5d [%03d] %5d.%09d: EVENT: ARGS``.  ARGS is the kernel's own text where the
table of texts has one (:mod:`fputrace.parsers.shapes`), else ``field=value field=value`` as
``trace-cmd report -R`` prints them.  Comments, docs/convert.md:

    # fputrace: {...}     what the recording says of itself (fputrace.metadata)
    # format: {...}       an event's format, one a line
    # comms: {...}        names of tasks as they are: in the lines they are made harmless
    # loss: {...}         a loss; those that have a place are in the lines as well
    # end: {...}          behind the last line: without it the text was cut
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import IO, Any

from fputrace.events import ABSENT, EventBlock, Kind, Trace
from fputrace.metadata import (
    OPERANDS,
    comms_to_plain,
    format_to_plain,
    loss_to_plain,
    text_of,
    to_plain,
)
from fputrace.parsers.formats import spec_names
from fputrace.parsers.shapes import Part, Shape, parts_of, shapes_of
from fputrace.parsers.symbols import Symbols
from fputrace.parsers.words import SVM, USER_EXITS, VMX, VMX_FLAGS, STATE_LETTERS, PREEMPTED
from fputrace.reports.escape import clean
