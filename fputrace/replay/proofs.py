# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""How the judge hands out what it finds: facts, and the events kept of a CPU and a task as proof.

Apart from :mod:`fputrace.replay.judge`, which says when.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.replay import layout
from fputrace.replay.layout import JudgeCpu, JudgeTask, Out

# Compiled, these come from the .pxd beside this file, as C (fputrace/replay/pxd.py).
if not cython.compiled:
    from fputrace.replay.reader import Reader

    REF = layout.REF
    C_REF_OWN = int(JudgeCpu.REF_OWN)
    C_REF_SWITCH = int(JudgeCpu.REF_SWITCH)
    C_WIDTH = int(JudgeCpu.WIDTH)
    T_PENDING = int(JudgeTask.PENDING)
    T_PID = int(JudgeTask.PID)
    T_REF_ACT = int(JudgeTask.REF_ACT)
    T_REF_ENTRY = int(JudgeTask.REF_ENTRY)
    T_REF_IN = int(JudgeTask.REF_IN)
    T_REF_KVM = int(JudgeTask.REF_KVM)
    T_REF_OUT = int(JudgeTask.REF_OUT)
    T_REF_SAVE = int(JudgeTask.REF_SAVE)
    T_SERIAL = int(JudgeTask.SERIAL)
    T_VCPU = int(JudgeTask.VCPU)
    T_WIDTH = int(JudgeTask.WIDTH)
    O_ACTED = int(Out.ACTED)
    O_COUNT = int(Out.COUNT)
    O_ENTRY = int(Out.ENTRY)
    O_EVENT = int(Out.EVENT)
    O_FACTS = int(Out.FACTS)
    O_IN = int(Out.IN)
    O_KVM = int(Out.KVM)
    O_NEXT = int(Out.NEXT)
    O_OWN = int(Out.OWN)
    O_OWNER = int(Out.OWNER)
    O_SAVE = int(Out.SAVE)
    O_SERIAL = int(Out.SERIAL)
    O_SUBJECT = int(Out.SUBJECT)
    O_SWITCH = int(Out.SWITCH)
    O_VCPU = int(Out.VCPU)
    O_WIDTH = int(Out.WIDTH)


def widths() -> tuple[int, int, int]:
    """Columns this was built for: a CPU's and a task's of the judge, an out row."""
    return int(C_WIDTH), int(T_WIDTH), int(O_WIDTH)


@cython.cclass
class Proofs(Reader):
    """Rows for the rules, from the judge's tables."""

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def emit(
        self,
        facts: cython.longlong,
        c: cython.Py_ssize_t,
        s: cython.Py_ssize_t,
        owner: cython.longlong,
    ) -> cython.Py_ssize_t:
        """Begin an out row; returns its number or -1 when no rule asks. EVENT is still to fill."""
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.nout
        facts &= self.wanted
        if not facts:
            return -1
        self.nout += 1
        self.out[n, O_FACTS] = facts
        self.out[n, O_SUBJECT] = self.tasks[s, T_PID]
        self.out[n, O_SERIAL] = self.tasks[s, T_SERIAL]
        self.out[n, O_VCPU] = self.tasks[s, T_VCPU] - 1
        self.out[n, O_COUNT] = 1
        self.out[n, O_OWNER] = owner
        for j in range(REF):
            self.out[n, O_OWN + j] = self.cpus[c, C_REF_OWN + j]
            self.out[n, O_SWITCH + j] = self.tasks[s, T_REF_OUT + j]
            self.out[n, O_IN + j] = self.tasks[s, T_REF_IN + j]
            self.out[n, O_KVM + j] = self.tasks[s, T_REF_KVM + j]
            self.out[n, O_SAVE + j] = self.tasks[s, T_REF_SAVE + j]
            self.out[n, O_ENTRY + j] = self.tasks[s, T_REF_ENTRY + j]
            self.out[n, O_ACTED + j] = self.tasks[s, T_REF_ACT + j]
            self.out[n, O_NEXT + j] = 0
        return n

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def emit_task(
        self,
        facts: cython.longlong,
        c: cython.Py_ssize_t,
        s: cython.Py_ssize_t,
        owner: cython.longlong,
        column: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        """Hand out facts of an earlier event that task s keeps at ``column``."""
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.emit(facts, c, s, owner)
        if n >= 0:
            for j in range(REF):
                self.out[n, O_EVENT + j] = self.tasks[s, column + j]
        return n

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def emit_switch(
        self, facts: cython.longlong, c: cython.Py_ssize_t, s: cython.Py_ssize_t
    ) -> cython.void:
        """Hand out facts of CPU c's last sched_switch."""
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.emit(facts, c, s, -1)
        if n >= 0:
            for j in range(REF):
                self.out[n, O_EVENT + j] = self.cpus[c, C_REF_SWITCH + j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def settle(
        self,
        fact: cython.longlong,
        c: cython.Py_ssize_t,
        s: cython.Py_ssize_t,
        owner: cython.longlong,
    ) -> cython.Py_ssize_t:
        """Task s's switch-outs with the guest loaded, all since its last kvm_entry, are decided."""
        n: cython.Py_ssize_t = self.emit_task(fact, c, s, owner, T_REF_SAVE)
        if n >= 0:
            self.out[n, O_COUNT] = self.tasks[s, T_PENDING]
        self.tasks[s, T_PENDING] = 0
        return n
