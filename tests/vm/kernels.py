"""Debian's own kernels, from the package archive that this machine's apt is set up for."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".vm"
SUITES = {"bookworm": "6.1", "trixie": "6.12", "sid": "7."}
"""Suite -> how the release of its kernel begins; another is skipped, not tested as that one."""

MODULES = ("virtio_pci", "virtio_blk", "kvm_amd", "algif_skcipher", "aesni_intel", "cbc")


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: its image, and its modules in the order in which they must be loaded."""

    suite: str
    release: str
    image: Path
    modules: tuple[Path, ...]


def fetch(suite: str) -> Kernel:
    """Download (once) and unpack the cloud kernel of a suite.

    Raises subprocess.CalledProcessError or OSError when apt does not give it.
    """
    root = CACHE / suite
    if not (root / "done").exists():
        shutil.rmtree(root, ignore_errors=True)
        _download(suite, root)
        (root / "done").touch()
    # In boot/, or since the packages were split beside the modules.
    image = next((root / "tree").glob("**/vmlinuz*"))
    folder = next((root / "tree").glob("**/lib/modules/*"))
    return Kernel(suite, folder.name, image, _modules(root, folder))


def _download(suite: str, root: Path) -> None:
    # The archive as apt knows it here, with this suite in place of the machine's own.
    targets = _run(
        "apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"
    )
    sites = [line.split()[1] for line in targets.splitlines() if line.startswith("Debian ")]
    plain = [site for site in sites if "security" not in site]
    for folder in ("lists/partial", "cache/archives/partial", "debs"):
        (root / folder).mkdir(parents=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (root / "sources.list").write_text(f"deb [signed-by={keyring}] {plain[0]} {suite} main\n")
    options = {
        "Dir::Etc::SourceList": root / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::lists": root / "lists",
        "Dir::Cache": root / "cache",
        "APT::Sandbox::User": "root",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    _run("apt-get", *words, "-qq", "update")
    wanted = re.findall(
        r"linux-image-\d\S*cloud-amd64",
        _run("apt-cache", *words, "show", "linux-image-cloud-amd64"),
    )
    about = _run("apt-cache", *words, "show", wanted[0])
    # Newer packages leave the image and the modules to packages of their own.
    parts = set(re.findall(r"linux-(?:binary|modules)-\d\S*cloud-amd64", about)) or {wanted[0]}
    _run("apt-get", *words, "-qq", "download", *sorted(parts), cwd=root / "debs")
    for package in (root / "debs").glob("*.deb"):
        _run("dpkg-deb", "-x", str(package), str(root / "tree"))


def _modules(root: Path, folder: Path) -> tuple[Path, ...]:
    """The wanted modules with all they depend on, unpacked, dependencies first."""
    by_name = {_name(path): path for path in folder.rglob("*.ko*")}
    out = root / "modules"
    out.mkdir(exist_ok=True)
    ordered: list[Path] = []

    def take(name: str) -> None:
        path, target = by_name.get(name), out / f"{name}.ko"
        if path is None or target in ordered:
            return  # what is not there is built in
        content = path.read_bytes()
        target.write_bytes(lzma.decompress(content) if path.suffix == ".xz" else content)
        # modpost writes it into .modinfo.
        depends = re.search(rb"\0depends=([\w,-]*)\0", target.read_bytes())
        for other in depends[1].decode().split(",") if depends else ():
            take(other.replace("-", "_"))
        ordered.append(target)

    for name in MODULES:
        take(name)
    return tuple(ordered)


def _name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


def _run(*words: str, cwd: Path | None = None) -> str:
    return subprocess.run(
        words, check=True, capture_output=True, text=True, cwd=cwd, timeout=600
    ).stdout
