"""Measures how a real, headless browser lays out a page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: A script for the page; it puts its findings into the title, and the browser then dumps the page.
_LOOK = """<script>addEventListener("load", () => { document.title = JSON.stringify({
  width: document.documentElement.scrollWidth,
  images: [...document.images].map(image => image.naturalWidth),
  dead: [...document.querySelectorAll('a[href^="#"]')].map(a => decodeURIComponent(a.getAttribute("href").slice(1)))
    .filter(id => !document.getElementById(id)),
  colours: Object.fromEntries([...document.querySelectorAll("strong[class]")].map(s => [s.className, getComputedStyle(s).color])),
}) })</script>"""  # noqa: E501


def look(page: Path, width: int, folder: Path) -> dict:
    """Returns the findings of a headless browser about a page in a window of ``width`` pixels."""
    assert PROGRAM is not None
    looked = folder / "page.html"
    looked.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{_LOOK}</body>"), encoding="utf-8")
    # In a frame, because a headless window cannot be narrower than 500 pixels.
    framed = folder / "frame.html"
    framed.write_text(
        f'<iframe src="page.html" width="{width}" height="800" style="border: 0"></iframe><script>addEventListener('
        '"load", () => { document.title = document.querySelector("iframe").contentDocument.title })</script>'
    )
    dom = subprocess.run(
        [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         f"--user-data-dir={folder}/profile",
         "--virtual-time-budget=10000", "--window-size=1300,900", "--dump-dom", framed.as_uri()],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title, dom[:500]
    return json.loads(title[1].replace("&amp;", "&").replace("&quot;", '"'))
