"""Bugs that Linux shipped and a finding may be: what to call it, and where its fix is.

The same facts stand in ``docs/bugs``, a page a bug, with what a recording shows; a test compares.
A bug is named only where rule, generation and release fit, and as more than a possibility only for
an upstream release that is known to have it: vendors port bugs and fixes alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Fix, KnownBug, LooksLike, Releases, Verdict
from fputrace.generation import read_release, read_version

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Finding

END = 9999
"""As a number of a release: whatever came last."""

_SWITCH_SAVE = "x86_fpu:x86_fpu_regs_deactivated"
_SWAP_PER_RUN = "x86,kvm: move qemu/guest FPU switching out to vcpu_run"
_HONOUR_TIF = "KVM: x86: Handle TIF_NEED_FPU_LOAD in kvm_{load,put}_guest_fpu()"
_DEFERRED = "x86/fpu: Defer FPU state load until return to userspace"


KNOWN_BUGS: tuple[KnownBug, ...] = (
    KnownBug(
        id="double-save",
        title="The VMM's registers restored and saved again at every sched-out",
        commit="",
        subject="the design that f775b13eedee replaced",
        fixes=(Fix("f775b13eedee", _SWAP_PER_RUN, ("4.15", "4.14.94")),),
        affected=(Releases((0, 0, 0), (4, 14, 93)),),
        codes=frozenset({"FPU201"}),
        generations=frozenset({"G1"}),
    ),
    KnownBug(
        id="crc32c-in-kvm-run",
        title="crc32c under get_user_pages() saves the guest over the VMM's registers",
        commit="",
        subject="kernel_fpu_begin() inside KVM_RUN, before f775b13eedee",
        fixes=(Fix("f775b13eedee", _SWAP_PER_RUN, ("4.15", "4.14.94")),),
        affected=(Releases((0, 0, 0), (4, 14, 93)),),
        codes=frozenset({"FPU101"}),
        generations=frozenset({"G1"}),
        unless=_SWITCH_SAVE,
    ),
    KnownBug(
        id="double-load",
        title="4.14.94 loads and puts the guest twice",
        commit="4124a4cff344",
        subject=f"{_SWAP_PER_RUN}, as ported back to 4.14.94",
        fixes=(
            Fix(
                "",
                "KVM: x86: Fix a 4.14 backport regression related to userspace/guest FPU",
                ("4.14.y",),
            ),
            Fix("", "x86,kvm: remove extra kvm_{get,put}_guest_fpu", ("4.14.y",)),
        ),
        affected=(
            Releases((4, 14, 94), (4, 14, 94)),
            Releases((4, 14, 95), (4, 14, 176), all_of_them=False),
        ),
        codes=frozenset({"FPU108", "FPU109"}),
        generations=frozenset({"G2x"}),
    ),
    KnownBug(
        id="guest-over-user-image",
        title="The guest's registers saved over the VMM's (5.0 to 5.2)",
        commit="240c35a3783a",
        subject="kvm: x86: Use task structs fpu field for user",
        fixes=(
            Fix(
                "ec269475cba7",
                'Revert "kvm: x86: Use task structs fpu field for user"',
                ("5.3-rc2", "5.2.4", "5.1.21"),
            ),
        ),
        affected=(
            Releases((5, 0, 0), (5, 0, END)),
            Releases((5, 1, 0), (5, 1, 20)),
            Releases((5, 2, 0), (5, 2, 3)),
        ),
        codes=frozenset({"FPU101"}),
        generations=frozenset({"G3", "G4a"}),
    ),
    KnownBug(
        id="raw-save",
        title="KVM saves registers that the deferred load had called stale (5.2)",
        commit="5f409e20b794",
        subject=_DEFERRED,
        fixes=(
            Fix(
                "e751732486eb", "KVM: X86: Fix fpu state crash in kvm guest", ("5.3", "5.2.5"), True
            ),
            Fix("c9aef3b85f42", _HONOUR_TIF, ("5.6", "5.5.3", "5.4.19")),
        ),
        affected=(Releases((5, 2, 0), (5, 2, 4)),),
        codes=frozenset({"FPU111"}),
        generations=frozenset({"G4a", "G4x"}),
    ),
    KnownBug(
        id="entry-hole",
        title="The guest is entered with what a softirq left (bug 206215)",
        commit="e751732486eb",
        subject="KVM: X86: Fix fpu state crash in kvm guest",
        fixes=(
            Fix("c9aef3b85f42", _HONOUR_TIF, ("5.6", "5.5.3", "5.4.19")),
            Fix(
                "2620fe268e80",
                'KVM: x86: Revert "KVM: X86: Fix fpu state crash in kvm guest"',
                ("5.6", "5.5.3", "5.4.19"),
            ),
        ),
        affected=(Releases((5, 2, 5), (5, 4, 18)), Releases((5, 5, 0), (5, 5, 2))),
        codes=frozenset({"FPU111", "FPU112"}),
        generations=frozenset({"G4b"}),
    ),
    KnownBug(
        id="cached-owner",
        title="gcc 9 remembers who owned the registers (CVE-2019-19602)",
        commit="5f409e20b794",
        subject=_DEFERRED,
        fixes=(
            Fix(
                "59c4bd853abc",
                "x86/fpu: Don't cache access to fpu_fpregs_owner_ctx",
                ("5.5", "5.4.2"),
            ),
        ),
        affected=(Releases((5, 2, 0), (5, 4, 1)),),
        codes=frozenset({"FPU104"}),
        generations=frozenset({"G4a", "G4x", "G4b"}),
        condition="when compiled by gcc 9",
    ),
    KnownBug(
        id="mpx-put",
        title="KVM_GET_MP_STATE puts a guest that was not loaded",
        commit="f775b13eedee",
        subject=_SWAP_PER_RUN,
        fixes=(
            Fix(
                "f958bd2314d1",
                "KVM: x86: Fix potential put_fpu() w/o load_fpu() on MPX platform",
                ("5.6", "5.5.3", "5.4.19"),
            ),
        ),
        affected=(Releases((4, 15, 0), (5, 4, 18)), Releases((5, 5, 0), (5, 5, 2))),
        codes=frozenset({"FPU108", "FPU109"}),
        generations=frozenset({"G2", "G3", "G4a", "G4x", "G4b"}),
        condition="on hosts with MPX",
    ),
    KnownBug(
        id="xfd",
        title="A guest's XFD and its saved image disagree: #NM in the host",
        commit="820a6ee944e7",
        subject="kvm: x86: Add emulation for IA32_XFD",
        fixes=(
            Fix(
                "b45f72177594",
                "x86/fpu: Clear XSTATE_BV[i] in guest XSAVE state whenever XFD[i]=1",
                ("6.19", "6.6.122"),
            ),
        ),
        affected=(Releases((5, 17, 0), (6, 18, END), all_of_them=False),),
        codes=frozenset({"FPU119"}),
        generations=frozenset({"G5", "G6"}),
        condition="on hosts with AMX",
    ),
    KnownBug(
        id="lazy-fpu",
        title="LazyFP: registers loaded at the first use (CVE-2018-3665)",
        commit="",
        subject="lazy switching, CR0.TS",
        fixes=(Fix("58122bf1d856", "x86/fpu: Default eagerfpu=on on all CPUs", ("4.6",)),),
        affected=(
            Releases((0, 0, 0), (4, 5, END)),
            Releases((4, 6, 0), (4, 13, END), all_of_them=False),
        ),
        codes=frozenset({"FPU121"}),
        generations=frozenset({"G0"}),
    ),
)
"""Those that some rule can find, in the order of docs/bugs/README.md."""


def match(finding: Finding, analysis: Analysis) -> tuple[LooksLike, ...]:
    """The known bugs this finding may be, with what keeps each from being certain.

    None for a release that is known not to have it, whatever the trace shows: then it is a bug that
    nobody has told of.
    """
    found = []
    for bug in KNOWN_BUGS:
        if finding.code not in bug.codes:
            continue
        if not bug.generations & set(analysis.generation.candidates):
            continue
        names = {event.name for witness in finding.witnesses for event in witness.events}
        if bug.unless and bug.unless in names:
            continue
        doubt = _doubt(bug, finding, analysis)
        if doubt is not None:
            found.append(LooksLike(bug, doubt))
    return tuple(found)


def _doubt(bug: KnownBug, finding: Finding, analysis: Analysis) -> str | None:
    """Why it need not be this bug: "" where nothing speaks against it; None where it is not."""
    release = analysis.release or ""
    version, known = read_version(release), read_release(release)
    if version is None or known is None:
        return "the release is not recorded"
    here = [one for one in bug.affected if one.first <= version <= one.last]
    before = version < min(one.first for one in bug.affected)
    if known.bound == "none":
        return f"{release} is somebody's own tree"
    if known.bound == "lower":
        words = f"{release} is a vendor's kernel, which may have the bug or the fix ported back"
        return words if here or before else None
    if not here:
        return None
    if not here[0].all_of_them:
        return "which releases of this range have the fix is not known"
    if bug.condition:
        return f"only {bug.condition}, which a recording does not tell"
    if not set(analysis.generation.candidates) <= bug.generations:
        return "the generation is not decided"
    if finding.verdict is not Verdict.CONFIRMED:
        return "the finding is not confirmed"
    return ""
