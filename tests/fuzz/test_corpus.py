"""Every file that once failed, through every output; see corpus/README.md."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.fuzz.checks import OUTPUTS, examine

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path.name for path in CORPUS.iterdir() if path.name != "README.md")


@pytest.mark.parametrize("name", FILES)
def test_it_does_not_fail_any_more(tmp_path: Path, name: str) -> None:
    source, target = CORPUS / name, tmp_path / "recording"
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    for output in OUTPUTS:
        examine(target, output)


def test_the_list_is_complete() -> None:
    listed = re.findall(r"^\| `(.+?)` \|", (CORPUS / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == FILES
