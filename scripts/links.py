"""Checks the links inside web pages: that files and anchors exist; exit code 1 if one does not. Asks no server.

``python scripts/links.py PAGE_OR_FOLDER ...``. Markdown that a page links to has the anchors that a code host gives it.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from seqadd.reporting.markup import anchor


class Page(HTMLParser):
    """The links of a page, in their order, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif (name == "id" or (name, tag) == ("name", "a")) and value:
                self.anchors.add(value)


@functools.cache
def _page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@functools.cache
def _anchors(path: Path) -> set[str]:
    if path.suffix == ".html":
        return _page(path).anchors
    titles = re.findall(r"^#+ +(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {anchor(re.sub(r"\]\([^)]*\)", "", title).strip()) for title in titles}


def broken(page: Path) -> Iterator[str]:
    """Yields a line for each link of a page whose file or anchor does not exist."""
    for link in dict.fromkeys(_page(page).links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.exists():
            yield f"{page}: {link}: there is no such file"
        elif parts.fragment and target.suffix in (".html", ".md") and unquote(parts.fragment) not in _anchors(target):
            yield f"{page}: {link}: {target.name} has no such anchor"


def main(arguments: Iterable[str]) -> int:
    paths = [Path(argument) for argument in arguments]
    pages = [page for path in paths for page in (sorted(path.rglob("*.html")) if path.is_dir() else [path])]
    lines = [line for page in pages for line in broken(page)]
    print("".join(f"{line}\n" for line in lines), end="")
    print(f"links: {len(pages)} pages, {len(lines)} broken")
    return 1 if lines or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
