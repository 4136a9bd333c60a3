"""Rules, findings, coverage: what a check says, as plain values that reports render."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fputrace.events import Loss, Trace
    from fputrace.timeline import Span, Timeline


class Severity(str, Enum):
    """Ordered as reports list them."""

    ERROR = "error"
    PERFORMANCE = "performance"
    TRACE = "trace"
    INFO = "info"


class Verdict(str, Enum):
    """Whether the events prove it, or another reading of them exists."""

    CONFIRMED = "confirmed"
    POSSIBLE = "possible"


class Status(str, Enum):
    """Whether this trace could answer a rule."""

    CHECKED = "checked"
    PARTLY = "partly"
    NOT_DECIDABLE = "not-decidable"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True)
class WitnessEvent:
    """One event of a proof.  ``role`` says what it proves; ``inferred`` marks a step that no event
    shows (then ``name`` is the kernel function that must have run, and ``fields`` is empty).
    """

    ns: int
    cpu: int
    pid: int
    comm: str
    name: str
    fields: dict[str, Any]
    role: str
    inferred: bool = False


@dataclass(frozen=True)
class Witness:
    """One occurrence of a finding: when and where, its events in time order, and the spans around
    it of every CPU (for the drawing; empty when they were not kept).
    """

    ns: int
    cpu: int
    events: tuple[WitnessEvent, ...]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Cost:
    """Estimated price: bytes moved and ns spent, with where the price comes from."""

    bytes: int
    ns: int
    source: str = ""


@dataclass
class Finding:
    """What one rule says of one task: ``count`` hits with this verdict (design, section 4)."""

    code: str
    name: str
    severity: Severity
    verdict: Verdict
    count: int
    pid: int | None
    comm: str | None
    vcpu: int | None
    tgid: int | None
    cpus: tuple[int, ...]
    first_ns: int | None
    last_ns: int | None
    message: str
    witnesses: tuple[Witness, ...] = ()
    cost: Cost | None = None
    vm: str | None = None
    """How reports call the VM this vCPU thread belongs to, where the trace tells it."""


@dataclass(frozen=True)
class Coverage:
    """Whether the trace could answer one rule, what is missing, and why."""

    code: str
    name: str
    status: Status
    missing: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class GenerationResult:
    """The generation a trace was judged by (reference C.0)."""

    code: str | None
    decided: bool
    forced: bool
    candidates: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass
class Analysis:
    """Everything one trace gave: what ``analyze`` prints and ``fputrace.analyze`` returns."""

    trace: Trace
    generation: GenerationResult
    findings: list[Finding]
    coverage: list[Coverage]
    losses: list[Loss]
    record: str | None
    timeline: Timeline
    notes: list[str] = field(default_factory=list)
    """Sentences for the reader: no FPU events, no vCPU, a guest's trace, … with what to do."""
    sha256: str | None = None

    def to_pandas(self) -> pd.DataFrame:
        """One row a finding, the columns of :class:`Finding` without witnesses."""
        import pandas as pd

        rows = [
            {
                name: (value.value if isinstance(value, Enum) else value)
                for name, value in vars(finding).items()
                if name not in ("witnesses", "cost")
            }
            for finding in self.findings
        ]
        return pd.DataFrame(rows)
