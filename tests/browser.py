"""Measures how a real, headless browser lays out a page."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: A script for the page; it puts its findings into the title, and the browser then dumps the page.
_LOOK = """<script>addEventListener("load", () => { const dark = matchMedia("(prefers-color-scheme: dark)").matches; document.title = JSON.stringify({
  width: document.documentElement.scrollWidth,
  cut: [...document.querySelectorAll("td, th, figure, pre, .wide, nav li")].filter(e => e.offsetParent && (
    e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > innerWidth + 1 ||
    [...e.children].some(c => c.getBoundingClientRect().right > e.getBoundingClientRect().right + 1)))
    .map(e => e.textContent.slice(0, 60)),
  unreadable: [...document.querySelectorAll("h2, p, td, strong[class], nav a")].filter(e => e.offsetParent).filter(e => {
    const light = text => { const c = text.match(/[0-9.]+/g).map(Number).slice(0, 3).map(v => v / 255)
      .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * c[0] + .7152 * c[1] + .0722 * c[2] };
    const [a, b] = [light(getComputedStyle(e).color), dark ? 0.006 : 1].sort();
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5 }).map(e => e.textContent.slice(0, 60)),
  dark: dark,
  contents: document.querySelectorAll("nav li").length,
  back: [...document.querySelectorAll('nav, .up')].filter(e => { const c = getComputedStyle(e);
    return c.display !== "none" && c.position === "fixed" }).length,
  images: [...document.images].map(image => image.naturalWidth),
  dead: [...document.querySelectorAll('a[href^="#"]')].map(a => decodeURIComponent(a.getAttribute("href").slice(1)))
    .filter(id => !document.getElementById(id)),
  colours: Object.fromEntries([...document.querySelectorAll("strong[class]")].map(s => [s.className, getComputedStyle(s).color])),
}) })</script>"""  # noqa: E501


def look(page: Path, widths: Sequence[int], folder: Path, *, dark: bool = False) -> list[dict]:
    """Returns the findings of a headless browser about a page in windows of some widths, in pixels.

    Among them are the texts that are cut off, and those whose contrast to the page is too low to be read.
    """
    assert PROGRAM is not None
    looked = folder / "page.html"
    looked.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{_LOOK}</body>"), encoding="utf-8")
    # In frames, because a headless window cannot be narrower than 500 pixels, and a browser takes seconds to start.
    frames = "".join(
        f'<iframe src="page.html" width="{width}" height="800" style="border: 0"></iframe>' for width in widths
    )
    framed = folder / "frame.html"
    framed.write_text(
        f'{frames}<script>addEventListener("load", () => {{ document.title = "[" + '
        '[...document.querySelectorAll("iframe")].map(frame => frame.contentDocument.title).join() + "]" })</script>'
    )
    dom = subprocess.run(
        [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         f"--user-data-dir={folder}/profile", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
         "--virtual-time-budget=10000", "--window-size=1500,900", "--dump-dom", framed.as_uri()],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title, dom[:500]
    return json.loads(html.unescape(title[1]))
