"""Hooks of the documentation site (mkdocs.yml): the README is its first page; links out of docs/.

On a code host the pages link to files of the repository, which the site does not hold: there they
are named instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the README, with its links as seen from docs/."""
    text = _LINK.sub(_from_docs, (ROOT / "README.md").read_text())
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Name what the site does not hold instead of linking there."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent

    def held(match: re.Match[str]) -> str:
        target = match[3]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = (folder / target).resolve()
        docs = Path(config.docs_dir).resolve()
        if path == ROOT / "README.md":
            return f"[{match[2]}]({'../' * page.file.src_uri.count('/')}index.md)"
        if path.is_relative_to(docs) and files.get_file_from_path(str(path.relative_to(docs))):
            return match[0]
        name = f"`{path.relative_to(ROOT)}`"
        return name if match[2].strip("`") == path.name or match[1] else f"{match[2]} ({name})"

    return _LINK.sub(held, markdown)


def _from_docs(match: re.Match[str]) -> str:
    target = match[3]
    if "://" not in target:
        target = target[len("docs/") :] if target.startswith("docs/") else f"../{target}"
        if target in ("bugs", "bugs/"):
            target = "bugs/README.md"
    return f"{match[1]}[{match[2]}]({target}{match[4] or ''})"
