"""What the site needs beside docs/: pages of the repository as pages of the site, and links that work there, too.

RESULTS.md, CONTRIBUTING.md, CHANGELOG.md and experiments/README.md stand where a forge shows them. On the site they are
pages, too. Pages link to them, and they to pages, by paths of the repository; the links are changed here.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[1]
# Path in the repository -> page of the site.
_PAGES = {
    "RESULTS.md": "RESULTS.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "experiments/README.md": "experiments.md",
}
_PLACES = {page: path for path, page in _PAGES.items()}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for path, page in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that are paths of the repository into links of the site."""
    source = page.file.src_uri
    folder = posixpath.dirname(_PLACES.get(source, posixpath.join("docs", source)))

    def site_link(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        place = posixpath.normpath(posixpath.join(folder, target))
        if place not in _PAGES and not place.startswith("docs/"):
            return match[0]
        found = _PAGES.get(place, place.removeprefix("docs/"))
        return match[1] + posixpath.relpath(found, posixpath.dirname(source) or ".") + match[3]

    return _LINK.sub(site_link, markdown)
