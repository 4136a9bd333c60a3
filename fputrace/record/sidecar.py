"""What no recording holds, beside it as ``FILE.fputrace.json``: probes, tasks, CPU, settings."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterable
from typing import Any

SUFFIX = ".fputrace.json"
HEAD_BYTES = 1 << 16
"""How much of a recording tells that a sidecar is its own; with its size that is enough."""

PF_KTHREAD = 0x00200000  # include/linux/sched.h

_VCPU = re.compile(r"CPU \d+/KVM")
_CONFIG = re.compile(r"^(CONFIG_PREEMPT\w*|CONFIG_X86_DEBUG_FPU|CONFIG_X86_FPU\w*)=(\S+)", re.M)
_CPU = re.compile(r"^(vendor_id|cpu family|model|stepping|microcode)\s*: (.+)$", re.M)
# Others may be nobody's business: a sidecar is sent to strangers.
_PARAMETER = re.compile(r"(kvm|no?xsave|nofxsr|no387|eagerfpu|clearcpuid|preempt|clocksource|tsc)")

Task = tuple[int, int, str, int]
"""pid, tgid, comm, flags (PF_*)."""


def threads_of(pid: int, proc: str = "/proc") -> list[tuple[int, str]]:
    """(tid, comm) of every thread of a process; empty when there is none."""
    found = []
    for tid in _numbers(f"{proc}/{pid}/task"):
        comm = read(f"{proc}/{pid}/task/{tid}/comm").rstrip("\n")
        if comm:
            found.append((tid, comm))
    return found


def vcpu_threads(pid: int, proc: str = "/proc") -> list[int]:
    """Threads that QEMU named after their vCPU."""
    return [tid for tid, comm in threads_of(pid, proc) if _VCPU.match(comm)]


def tasks(proc: str = "/proc") -> list[Task]:
    """Every task there is now."""
    found: list[Task] = []
    for tgid in _numbers(proc):
        for tid in _numbers(f"{proc}/{tgid}/task"):
            text = read(f"{proc}/{tgid}/task/{tid}/stat")
            # The name is in parentheses and may hold some itself; the flags are the 9th field.
            start, end = text.find("("), text.rfind(")")
            rest = text[end + 1 :].split()
            if 0 < start < end and len(rest) > 6 and rest[6].isdigit():
                found.append((tid, tgid, text[start + 1 : end], int(rest[6])))
    return found


def saved_cmdlines(known: Iterable[Task]) -> str:
    """Names of tasks as tracefs' file of that name has them."""
    return "".join(f"{pid} {comm}\n" for pid, _tgid, comm, _flags in known)


def about_machine(proc: str = "/proc") -> dict[str, Any]:
    """What the kernel and the CPU say about themselves; what cannot be found out is left out."""
    release = read(f"{proc}/sys/kernel/osrelease").strip()
    found: dict[str, Any] = {
        "kernel": release,
        "version": read(f"{proc}/version").strip(),
        "cmdline": [word for word in read(f"{proc}/cmdline").split() if _PARAMETER.match(word)],
        "config": dict(_CONFIG.findall(_config(release, proc))),
        "cpu": dict(_CPU.findall(read(f"{proc}/cpuinfo").partition("\n\n")[0])),
    }
    return found | _xsave()


def write(path: str, recording: str, facts: dict[str, Any]) -> None:
    """Write a sidecar that says which recording it is of.

    Raises OSError when it cannot be written or the recording cannot be read.
    """
    with open(recording, "rb") as stream:
        head = stream.read(HEAD_BYTES)
        size = os.fstat(stream.fileno()).st_size
    about = {"bytes": size, "head_sha256": hashlib.sha256(head).hexdigest()}
    text = json.dumps({"fputrace_sidecar": 1, "recording": about, **facts}, indent=1)
    part = f"{path}.part"
    with open(part, "w", encoding="ascii") as out:
        out.write(text + "\n")
    os.replace(part, path)


def read(path: str) -> str:
    """A file's text, "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as stream:
            return stream.read()
    except OSError:
        return ""


def _numbers(folder: str) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(folder) if name.isdecimal())
    except OSError:
        return []


def _config(release: str, proc: str) -> str:
    try:
        with gzip.open(f"{proc}/config.gz", "rt", encoding="ascii", errors="replace") as stream:
            return stream.read()
    except OSError:
        return read(f"/boot/config-{release}")


def _xsave() -> dict[str, Any]:
    """CPUID leaf 0xD (Intel SDM vol. 1, 13.2), where the kernel's cpuid driver is there.

    XCR0 itself cannot be read by a program in Python; ``xcr0_supported`` is the mask the CPU has.
    """
    try:
        fd = os.open("/dev/cpu/0/cpuid", os.O_RDONLY)
    except OSError:
        return {}
    try:

        def leaf(sub: int) -> tuple[int, int, int, int]:
            registers = os.pread(fd, 16, 0xD | sub << 32)
            eax, ebx, ecx, edx = struct.unpack("<4I", registers)
            return eax, ebx, ecx, edx

        eax, ebx, _ecx, edx = leaf(0)
        supported = eax | edx << 32
        _eax, _ebx, supervisor, _edx = leaf(1)
        components = {}
        for bit in range(2, 63):
            if (supported | supervisor) >> bit & 1:
                size, offset, flags, _ = leaf(bit)
                components[str(bit)] = {"size": size, "offset": offset, "flags": flags}
    except (OSError, struct.error):
        return {}
    finally:
        os.close(fd)
    return {
        "xcr0_supported": supported,
        "xss_supported": supervisor,
        "xsave_bytes": ebx,
        "xsave_components": components,
    }
