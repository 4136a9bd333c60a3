"""A virtual machine without disks: a kernel, and an initramfs with what a test runs in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.vm.kernels import CACHE, Kernel

HERE = Path(__file__).parent
TOP = HERE.parents[1]
OUT_BYTES = 96 << 20

_UNUSED = ("test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "site-packages",
           "dist-packages", "pydoc_data", "turtledemo")  # fmt: skip
QEMU = (
    "qemu-system-x86_64", "-cpu", "EPYC,+svm,+npt,-cx16", "-smp", "2", "-m", "1024",
    "-nodefaults", "-nographic", "-no-reboot",
)  # fmt: skip
"""With cx16 the cmpxchg16b of QEMU 7.2 now and then corrupts flags when CPUs run in threads."""
ACCELERATIONS = ("tcg", "tcg,thread=single")
"""On a busy host a CPU's thread can run an int3 that the kernel has taken out of its code (a
tracepoint's jump label) meanwhile: an oops.  CPUs that share a thread cannot; they are slower.
"""

_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/usr/local/bin PYTHONPATH=/fputrace LC_ALL=C.UTF-8 HOME=/
mkdir -p /proc /sys /dev /tmp /out /run /etc
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tracefs tracefs /sys/kernel/tracing
for module in $(cat /modules/order); do insmod /modules/$module || echo "no module $module"; done
cd /out
sh /test.sh 2>&1 | tee /out/log
echo $? > /out/status
dmesg > /out/dmesg
tar -cf /dev/vda -C /out .
sync
poweroff -f
"""


def build_workload() -> Path:
    """Compile the workload, statically."""
    target = CACHE / "workload"
    sources = sorted((HERE / "workload").glob("*.c"))
    newest = max(path.stat().st_mtime for path in (HERE / "workload").iterdir())
    if not target.exists() or target.stat().st_mtime < newest:
        words = ["gcc", "-O2", "-Wall", "-static", "-pthread", "-o", target, *sources]
        subprocess.run([str(word) for word in words], check=True)
    return target


def base() -> Path:
    """A folder with busybox, trace-cmd, and this Python with what the recorder imports.

    Without numpy, which wants a CPU with cx16: recordings are not read back inside.
    """
    root = CACHE / "base"
    shutil.rmtree(root, ignore_errors=True)
    (root / "bin").mkdir(parents=True)
    programs = [Path(sys.executable).resolve()]
    programs += [Path(found) for name in ("trace-cmd",) if (found := shutil.which(name))]
    shutil.copy(_which("busybox"), root / "bin/busybox")
    shutil.copy(build_workload(), root / "bin/workload")
    stdlib = Path(sysconfig.get_path("stdlib")).resolve()
    _copy_tree(stdlib, root / stdlib.relative_to("/"), _UNUSED)
    for part in ("fputrace", "parsers", "rules"):
        _copy_tree(TOP / part, root / "fputrace" / part, ("parsers", "rules"))
    for link, target in (("parsers", "../parsers"), ("rules", "../rules")):
        (root / "fputrace/fputrace" / link).symlink_to(target)
    for program in programs:
        _place(program, root / program.relative_to("/"))
    (root / "bin/python3").symlink_to(programs[0])
    for library in _libraries([*programs, *root.rglob("*.so"), *root.rglob("*.so.*")]):
        if not (root / library.relative_to("/")).exists():
            _place(library, root / library.relative_to("/"))
    return root


def boot(kernel: Kernel, root: Path, script: str, results: Path, seconds: float = 420) -> Path:
    """Run a shell script on that kernel; what it left in /out is in the folder `results` then.

    Raises AssertionError with the console's end when the machine does not come to its end.
    """
    work = CACHE / f"run-{kernel.suite}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "modules").mkdir(parents=True)
    for module in kernel.modules:
        shutil.copy(module, work / "modules")
    (work / "modules/order").write_text("\n".join(path.name for path in kernel.modules))
    (work / "init").write_text(_INIT)
    (work / "init").chmod(0o755)
    (work / "test.sh").write_text(script)
    initramfs, disk = CACHE / f"{kernel.suite}.cpio", CACHE / f"{kernel.suite}.img"
    _cpio([root, work], initramfs)
    for acceleration in ACCELERATIONS:
        shutil.rmtree(results, ignore_errors=True)
        with disk.open("wb") as stream:
            stream.truncate(OUT_BYTES)
        failure = _run(kernel, acceleration, initramfs, disk, seconds)
        results.mkdir(parents=True)
        with tarfile.open(disk) as tar:
            tar.extractall(results, filter="data")
        if (results / "status").exists():
            break
    disk.unlink()
    initramfs.unlink()
    assert (results / "status").exists(), failure
    return results


def _run(kernel: Kernel, acceleration: str, initramfs: Path, disk: Path, seconds: float) -> str:
    """Run the machine to its end; what to say if it left nothing."""
    console = CACHE / f"{kernel.suite}.console"
    words = [*QEMU, "-accel", acceleration, "-kernel", kernel.image, "-initrd", initramfs,
             "-serial", f"file:{console}", "-append", "console=ttyS0 quiet panic=-1 rdinit=/init",
             "-drive", f"file={disk},format=raw,if=virtio"]  # fmt: skip
    how = "panicked"
    try:
        # QEMU says what it cannot emulate of an EPYC.
        subprocess.run(
            [str(word) for word in words], check=True, timeout=seconds, stderr=subprocess.DEVNULL
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        how = f"did not end: {error}"
    said = console.read_text(errors="replace")[-3000:] if console.exists() else ""
    return f"{kernel.release} {how}\n{said}"


def _which(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is not installed"
    return found


def _copy_tree(source: Path, target: Path, without: Iterable[str]) -> None:
    names = frozenset(without)

    def unwanted(folder: str, entries: list[str]) -> set[str]:
        return {name for name in entries if name in names or name.startswith("config-3")}

    shutil.copytree(source, target, ignore=unwanted, symlinks=False, ignore_dangling_symlinks=True)


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """What the dynamic loader would load for them, under the names it looks for."""
    words = ["ldd", *(str(path) for path in programs)]
    said = subprocess.run(words, check=False, capture_output=True, text=True).stdout
    found = re.findall(r"(?:=> |^\s)(/\S+) \(0x", said, re.M)
    return {Path(path) for path in found if not path.startswith(str(CACHE))}


def _cpio(folders: Iterable[Path], target: Path) -> None:
    """One archive of several folders; not compressed, for unpacking costs more than copying."""
    with target.open("wb") as out:
        for folder in folders:
            names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
            words = ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"]
            subprocess.run(words, input=names.encode(), check=True, cwd=folder, stdout=out)


def environment() -> str:
    """Why a machine cannot be booted here; "" when it can."""
    needed = ("qemu-system-x86_64", "busybox", "cpio", "gcc", "dpkg-deb", "apt-get")
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "" if os.uname().machine == "x86_64" else "not an x86-64 machine"
