"""``RECORDER=WHO python -m tests.record.driver ROOT OUTPUT [COMMAND...]``: on a made-up kernel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fputrace.record.commands import Run
from fputrace.record.kernel import describe
from fputrace.record.live import record, sweep
from fputrace.record.plan import make_plan
from tests.record.fake import FakeTracefs


def main(root: str, output: str, *command: str) -> None:
    """As the verb does, but for what it says and counts."""
    top, proc = str(Path(root) / "tracing"), str(Path(root) / "proc")
    tracefs = FakeTracefs(top)

    def talk(message: str) -> None:
        print(message, flush=True)

    sweep(tracefs, talk, proc)
    plan = make_plan(describe(top, proc), str(os.getpid()), probes=True, kfpu=True)
    print("ready", flush=True)
    done = record(
        tracefs, plan, Run(output, command), os.environ.get("RECORDER", "tracefs"), talk, proc
    )
    print("status", done.status, "losses", done.losses, "misses", done.misses, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
