"""What the loops copy as it lies has one order on both sides."""

from __future__ import annotations

from fputrace.replay.layout import Before, Cpu, Task

OTHERWISE = {"CPU_KNOW": "KNOW", "SUBJECT": "PID", "TASK_KNOW": "KNOW"}
"""Columns of the facts that have another name in the row they come from."""


def test_facts_are_the_first_columns_of_a_cpu_and_of_a_task() -> None:
    columns = {n: v for n, v in vars(Before).items() if n.isupper() and n != "WIDTH"}
    assert sorted(columns.values()) == list(range(Before.WIDTH))
    for name, column in columns.items():
        row, first = (Cpu, 0) if column < Before.SUBJECT else (Task, Before.SUBJECT)
        assert getattr(row, OTHERWISE.get(name, name)) == column - first, name
