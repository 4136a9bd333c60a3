"""What gets installed: a wheel by way of an sdist, and one from a zip without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import fputrace
from fputrace.nocython import LOOPS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
SAMPLE = ROOT / "sample_traces" / "5.2.1-pinned" / "trace.dat"
PARTS = (
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "docs",
    "fputrace",
    "parsers",
    "rules",
)


def test_every_package_is_listed() -> None:
    # fputrace/parsers and fputrace/rules are links: seen here under the names they are imported by.
    inits = [
        p
        for top in ("fputrace", "fputrace/parsers", "fputrace/rules")
        for p in (ROOT / top).rglob("__init__.py")
    ]
    found = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in inits}
    assert set(SETUPTOOLS["packages"]) == found


def test_compiled_modules_are_the_loops() -> None:
    """And a .pxd, without which Cython builds something else, is named where the sdist sees it."""
    named = {path for module in SETUPTOOLS["ext-modules"] for path in module.get("depends", ())}
    # rglob() does not follow the link fputrace/parsers.
    folders = (ROOT / "fputrace", ROOT / "parsers")
    found = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*.pxd")}
    assert named == found
    loops = [m for m in SETUPTOOLS["ext-modules"] if m["sources"][0].endswith(".py")]
    assert tuple(module["name"] for module in loops) == LOOPS
    assert all(module["optional"] for module in SETUPTOOLS["ext-modules"])


def run(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _compiled(_folder: str, names: list[str]) -> set[str]:
    """What Python and a compiler have left."""
    return {name for name in names if name == "__pycache__" or name.endswith(".so")}


def _made(folder: str, names: list[str]) -> set[str]:
    """What a build has left, and the C that Cython made of a ``.py``."""
    translated = {name for name in names if name.endswith(".c") and f"{name[:-2]}.py" in names}
    return _compiled(folder, names) | translated


def copy_sources(into: Path, *, links: bool) -> None:
    """What a checkout has, without what a build left in this one; a zip unpacks links as text.

    The zip keeps this checkout's C, if there is any, so that Cython need not translate once more
    what is not older: that takes 20 s.  ``.ci/readme`` installs without a compiler and without it.
    """
    into.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(
                source,
                into / part,
                symlinks=True,
                ignore=_made if links else _compiled,
            )
        else:
            shutil.copy(source, into / part)
    if not links:
        for name in ("parsers", "rules"):
            link = into / "fputrace" / name
            link.unlink()
            link.write_text(f"../{name}")


def expected_files() -> set[str]:
    names = {"fputrace/py.typed"}
    for package in SETUPTOOLS["packages"]:
        folder = package.replace(".", "/")
        names.update(
            f"{folder}/{path.name}"
            for pattern in ("*.py", "*.schema.json")
            for path in (ROOT / folder).glob(pattern)
        )
    assets = (ROOT / "fputrace/reports/assets").rglob("*.*")
    names.update(str(path.relative_to(ROOT)) for path in assets)
    for folder, files in SETUPTOOLS["data-files"].items():
        names.update(
            f"fputrace-{fputrace.__version__}.data/data/{folder}/{Path(file).name}"
            for file in files
        )
    return names


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def compiled(names: set[str]) -> set[str]:
    return {name for name in names if name.endswith(".so")}


def analyze_installed(wheel: Path, folder: Path) -> tuple[str, str]:
    """stdout and stderr of the installed tool, away from the checkout."""
    site = folder / "site"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
        cwd=folder,
    )
    where = run(
        sys.executable,
        "-c",
        "import fputrace.rules as r; print(r.__file__)",
        cwd=folder,
        PYTHONPATH=str(site),
    ).stdout
    assert where.startswith(str(site))
    assert sorted(path.name for path in site.iterdir() if "-" not in path.name) in (
        ["bin", "fputrace", "share"],
        ["fputrace", "share"],
    )
    done = run(
        sys.executable,
        "-m",
        "fputrace",
        "analyze",
        "--exit-zero",
        "--format",
        "json",
        str(SAMPLE),
        cwd=folder,
        PYTHONPATH=str(site),
    )
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def wheel_from_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    copy_sources(folder / "source", links=True)
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder),
        "source",
        cwd=folder,
    )
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    built = {
        path
        for module in SETUPTOOLS["ext-modules"]
        for path in (*module["sources"], *module.get("depends", ()))
    }
    assert {"LICENSE", "README.md", "pyproject.toml", *built} <= names
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel_without_compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zip")
    copy_sources(folder / "source", links=False)
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        str(folder),
        "source",
        cwd=folder,
        CC="/bin/false",
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_wheel_from_sdist_holds_everything(wheel_from_sdist: Path) -> None:
    names = contents(wheel_from_sdist)
    assert names - compiled(names) == expected_files()
    if shutil.which("gcc"):
        modules = {module["name"] for module in SETUPTOOLS["ext-modules"]}
        assert {name.split(".")[0].replace("/", ".") for name in compiled(names)} == modules


def test_wheel_from_zip_holds_the_same(wheel_without_compiler: Path) -> None:
    assert contents(wheel_without_compiler) == expected_files()


def test_installed_wheels_agree(
    wheel_from_sdist: Path, wheel_without_compiler: Path, tmp_path: Path
) -> None:
    """Compiled and plain loops give the same report; only the plain one says what to install."""
    results = []
    for wheel in (wheel_from_sdist, wheel_without_compiler):
        folder = tmp_path / wheel.parent.name
        folder.mkdir()
        results.append(analyze_installed(wheel, folder))
    (report, talk), (plain_report, plain_talk) = results
    assert report == plain_report
    assert plain_talk.count("apt install gcc python3-dev") == 1
    if shutil.which("gcc"):
        assert talk == ""
