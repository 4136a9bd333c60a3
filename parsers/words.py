"""Words that texts print where the record holds a number, and what number it is.

Collected from the print formats of kernels 4.14 to 7.2 (``events/*/*/format``) and from what
trace-cmd's plugins print (libtraceevent ``plugin_kvm.c``, ``plugin_sched_switch.c``).  Where a
kernel renamed a reason both names are here, the newest last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_HEX = re.compile(r"0x[0-9a-fA-F]{1,16}")


def _numbered(start: int, names: str) -> dict[str, int]:
    """Names of consecutive numbers, ``-`` where a number has none."""
    return {name: start + i for i, name in enumerate(names.split()) if name != "-"}


# VMX_EXIT_REASONS of arch/x86/include/uapi/asm/vmx.h.
VMX: Mapping[str, int] = {
    "PENDING_INTERRUPT": 7,
    **_numbered(0, "EXCEPTION_NMI EXTERNAL_INTERRUPT TRIPLE_FAULT INIT_SIGNAL SIPI_SIGNAL"),
    **_numbered(7, "INTERRUPT_WINDOW NMI_WINDOW TASK_SWITCH CPUID - HLT INVD INVLPG RDPMC RDTSC"),
    **_numbered(18, "VMCALL VMCLEAR VMLAUNCH VMPTRLD VMPTRST VMREAD VMRESUME VMWRITE VMOFF VMON"),
    **_numbered(28, "CR_ACCESS DR_ACCESS IO_INSTRUCTION MSR_READ MSR_WRITE INVALID_STATE"),
    **_numbered(34, "MSR_LOAD_FAIL - MWAIT_INSTRUCTION MONITOR_TRAP_FLAG - MONITOR_INSTRUCTION"),
    **_numbered(40, "PAUSE_INSTRUCTION MCE_DURING_VMENTRY - TPR_BELOW_THRESHOLD APIC_ACCESS"),
    **_numbered(45, "EOI_INDUCED GDTR_IDTR LDTR_TR EPT_VIOLATION EPT_MISCONFIG INVEPT RDTSCP"),
    **_numbered(52, "PREEMPTION_TIMER INVVPID WBINVD XSETBV APIC_WRITE RDRAND INVPCID VMFUNC"),
    **_numbered(60, "ENCLS RDSEED PML_FULL XSAVES XRSTORS - - UMWAIT TPAUSE"),
    **_numbered(74, "BUS_LOCK NOTIFY - TDCALL"),
    **_numbered(84, "MSR_READ_IMM MSR_WRITE_IMM"),
}

VMX_FLAGS: Mapping[str, int] = {"FAILED_VMENTRY": 0x80000000}
"""Printed behind the reason (VMX_EXIT_REASON_FLAGS)."""

_EXCEPTIONS = "DE DB - BP OF BR UD NM DF - TS NP SS GP PF - MF AC MC XF"

# SVM_EXIT_REASONS of arch/x86/include/uapi/asm/svm.h.
SVM: Mapping[str, int] = {
    **_numbered(0x00, "read_cr0 - read_cr2 read_cr3 read_cr4 - - - read_cr8"),
    **_numbered(0x10, "write_cr0 - write_cr2 write_cr3 write_cr4 - - - write_cr8"),
    **{f"read_dr{i}": 0x20 + i for i in range(8)},
    **{f"write_dr{i}": 0x30 + i for i in range(8)},
    **{f"{name} excp": number for name, number in _numbered(0x40, _EXCEPTIONS).items()},
    **_numbered(0x60, "interrupt nmi smi init vintr cr0_sel_write read_idtr read_gdtr read_ldtr"),
    **_numbered(0x69, "read_rt write_idtr write_gdtr write_ldtr write_rt rdtsc rdpmc pushf popf"),
    **_numbered(0x72, "cpuid rsm iret swint invd pause hlt invlpg invlpga io msr task_switch"),
    **_numbered(0x7E, "ferr_freeze shutdown vmrun hypercall vmload vmsave stgi clgi skinit rdtscp"),
    **_numbered(0x88, "icebp wbinvd monitor mwait - xsetbv - write_efer_trap write_cr0_trap"),
    **_numbered(0x94, "write_cr4_trap - - - write_cr8_trap"),
    **_numbered(0xA2, "invpcid - - buslock idle-halt"),
    **_numbered(0x400, "npf avic_incomplete_ipi avic_unaccelerated_access vmgexit"),
    **_numbered(0x80000001, "vmgexit_mmio_read vmgexit_mmio_write vmgexit_nmi_complete"),
    **_numbered(0x80000004, "vmgexit_ap_hlt_loop vmgexit_ap_jump_table"),
    **_numbered(0x80000010, "vmgexit_page_state_change vmgexit_guest_request"),
    **_numbered(0x80000012, "vmgexit_ext_guest_request vmgexit_ap_creation"),
    "vmgexit_hypervisor_feature": 0x8000FFFD,
}

# plugin_kvm.c has its own names for AMD's reasons; its names for Intel's are the kernel's.
_PLUGIN: Mapping[str, int] = {
    **_numbered(0x00, "EXIT_READ_CR0 - EXIT_READ_CR2 EXIT_READ_CR3 EXIT_READ_CR4"),
    "EXIT_READ_CR8": 0x08,
    **_numbered(0x10, "EXIT_WRITE_CR0 - EXIT_WRITE_CR2 EXIT_WRITE_CR3 EXIT_WRITE_CR4"),
    "EXIT_WRITE_CR8": 0x18,
    **{f"EXIT_READ_DR{i}": 0x20 + i for i in range(8)},
    **{f"EXIT_WRITE_DR{i}": 0x30 + i for i in range(8)},
    **{f"EXIT_EXCP_{name}": number for name, number in _numbered(0x40, _EXCEPTIONS).items()},
    **_numbered(0x60, "EXIT_INTR EXIT_NMI EXIT_SMI EXIT_INIT EXIT_VINTR EXIT_CR0_SEL_WRITE"),
    **_numbered(0x66, "EXIT_IDTR_READ EXIT_GDTR_READ EXIT_LDTR_READ EXIT_TR_READ"),
    **_numbered(0x6A, "EXIT_IDTR_WRITE EXIT_GDTR_WRITE EXIT_LDTR_WRITE EXIT_TR_WRITE"),
    **_numbered(0x6E, "EXIT_RDTSC EXIT_RDPMC EXIT_PUSHF EXIT_POPF EXIT_CPUID EXIT_RSM EXIT_IRET"),
    **_numbered(0x75, "EXIT_SWINT EXIT_INVD EXIT_PAUSE EXIT_HLT EXIT_INVLPG EXIT_INVLPGA"),
    **_numbered(0x7B, "EXIT_IOIO EXIT_MSR EXIT_TASK_SWITCH EXIT_FERR_FREEZE EXIT_SHUTDOWN"),
    **_numbered(0x80, "EXIT_VMRUN EXIT_VMMCALL EXIT_VMLOAD EXIT_VMSAVE EXIT_STGI EXIT_CLGI"),
    **_numbered(0x86, "EXIT_SKINIT EXIT_RDTSCP EXIT_ICEBP EXIT_WBINVD EXIT_MONITOR EXIT_MWAIT"),
    **_numbered(0x8C, "EXIT_MWAIT_COND EXIT_XSETBV"),
    **_numbered(0x400, "EXIT_NPF EXIT_AVIC_INCOMPLETE_IPI EXIT_AVIC_UNACCELERATED_ACCESS"),
    "EXIT_ERR": 0xFFFFFFFF,
}

EXIT_REASONS: Mapping[str, int] = {**_PLUGIN, **SVM, **VMX}
"""``exit_reason`` of kvm_exit; Intel's names are upper case, AMD's lower, the plugin's EXIT_."""

# KVM_EXIT_* of include/uapi/linux/kvm.h, as kvm_trace_exit_reason names them.
USER_EXITS: Mapping[str, int] = _numbered(
    0,
    "KVM_EXIT_UNKNOWN KVM_EXIT_EXCEPTION KVM_EXIT_IO KVM_EXIT_HYPERCALL KVM_EXIT_DEBUG "
    "KVM_EXIT_HLT KVM_EXIT_MMIO KVM_EXIT_IRQ_WINDOW_OPEN KVM_EXIT_SHUTDOWN KVM_EXIT_FAIL_ENTRY "
    "KVM_EXIT_INTR KVM_EXIT_SET_TPR KVM_EXIT_TPR_ACCESS KVM_EXIT_S390_SIEIC "
    "KVM_EXIT_S390_RESET KVM_EXIT_DCR KVM_EXIT_NMI KVM_EXIT_INTERNAL_ERROR KVM_EXIT_OSI "
    "KVM_EXIT_PAPR_HCALL KVM_EXIT_S390_UCONTROL KVM_EXIT_WATCHDOG KVM_EXIT_S390_TSCH "
    "KVM_EXIT_EPR KVM_EXIT_SYSTEM_EVENT KVM_EXIT_S390_STSI KVM_EXIT_IOAPIC_EOI KVM_EXIT_HYPERV "
    "KVM_EXIT_ARM_NISV KVM_EXIT_X86_RDMSR KVM_EXIT_X86_WRMSR",
)

_LETTERS = "SDTtXZPI"

STATE_LETTERS: Mapping[str, int] = {
    **{letter: 1 << bit for bit, letter in enumerate(_LETTERS)},
    "x": 64, "K": 128, "W": 256, "N": 1024,  # 4.13 and older
}  # fmt: skip
"""``prev_state`` as the kernel prints it (include/trace/events/sched.h): R without any bit."""

PREEMPTED = 256
"""What a ``+`` behind the state means since 4.14: TASK_REPORT_MAX, still runnable."""

PLUGIN_LETTERS: Mapping[str, int] = {letter: 1 << bit for bit, letter in enumerate("SDTtZXxW")}
"""``prev_state`` as plugin_sched_switch prints it: by bit, with names the kernel no longer uses."""


def state_number(word: str) -> int | None:
    """The kernel's ``prev_state`` of its own letters (``S``, ``R+``, ``D|K``); None: unknown."""
    letters = word.removesuffix("+")
    number = _bits(letters, STATE_LETTERS)
    return number if number is None or letters == word else number | PREEMPTED


def state_word(number: int) -> str:
    """``prev_state`` as kernels since 4.14 print it: eight letters, and the ``+``."""
    letters = [letter for bit, letter in enumerate(_LETTERS) if number >> bit & 1]
    return ("|".join(letters) or "R") + ("+" if number & PREEMPTED else "")


def plugin_state_number(word: str) -> int | None:
    """``prev_state`` of trace-cmd's letters, None where the text does not tell it.

    The plugin prints no ``+``: its R is a task that waits or one that was preempted.
    """
    return _bits(word, PLUGIN_LETTERS) or None


def _bits(letters: str, table: Mapping[str, int]) -> int | None:
    if letters == "R":
        return 0
    number = 0
    for letter in letters.split("|"):
        if letter not in table:
            return None
        number |= table[letter]
    return number


def symbol_number(symbols: Mapping[str, int], word: str) -> int | None:
    """The number a word stands for: a symbol, a reason with flags behind it, or ``0x``-digits.

    ``__print_symbolic`` prints a number it has no name for in hex.  None: nobody knows.
    """
    known = symbols.get(word)
    if known is not None:
        return known
    if _HEX.fullmatch(word):
        return int(word, 16)
    name, _, flag = word.rpartition(" ")
    if flag in VMX_FLAGS and name in symbols:
        return symbols[name] | VMX_FLAGS[flag]
    return None
