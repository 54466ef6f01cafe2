"""Converts Markdown to a self-contained web page: style and pictures are embedded, and it contains no script.

Readable on a phone, in print and in dark mode.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from seqadd.errors import ConfigError


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Formats a table in Markdown."""
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def sanitize(text: str) -> str:
    """Sanitizes a text of the store, which is untrusted, so that it has no effect in CSV, Markdown or HTML."""
    return re.sub(r"[^\w .,:;()@+/-]", "?", text)[:200]


def anchor(title: str) -> str:
    """The anchor of a heading, as GitHub forms it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #00664a; --bad: #a84300; --open: #666; }
@media (prefers-color-scheme: dark) { :root { --good: #3fd0a4; --bad: #ff9a5c; --open: #aaa; } img { background: #fff } }
body { font: 1rem/1.55 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
img { max-width: 100%; height: auto; } pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); }
code { font-size: .9em; overflow-wrap: break-word; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; margin: 1rem 0; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: left; vertical-align: top; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
.good::before { content: "\\2713\\00a0"; } .bad::before { content: "\\2717\\00a0"; }
.open::before { content: "?\\00a0"; }
@media print { body { max-width: none; font-size: 9pt } h2 { break-before: page } img, tr { break-inside: avoid } .wide { overflow: visible } table { font-size: 6.5pt } }
"""  # noqa: E501


def page(text: str, title: str, folder: Path, pictures: set[Path], marked: Mapping[str, str]) -> str:
    """Converts Markdown to a self-contained web page.

    Args:
        text: the Markdown; HTML in it is escaped, except ``<br>``.
        title: title of the window.
        folder: folder that the pictures' paths are relative to.
        pictures: the files that may be embedded.
        marked: words that, in bold, get a mark and a colour: ``good``, ``bad`` or ``open``.

    Raises:
        ConfigError: for a picture that is not in ``pictures``.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(
        r'<img src="([^"]+)"', lambda image: f'<img src="{_embedded((folder / image[1]).resolve(), pictures)}"', body
    )
    body = re.sub(
        r"<h([23])>(.*?)</h\1>",
        lambda head: f'<h{head[1]} id="{anchor(_without_tags(head[2]))}">{head[2]}</h{head[1]}>',
        body,
    )
    body = (
        body.replace("&lt;br&gt;", "<br>")
        .replace("<table>", '<div class="wide"><table>')
        .replace("</table>", "</table></div>")
    )
    for words, kind in marked.items():
        body = body.replace(f"<strong>{words}</strong>", f'<strong class="{kind}">{words}</strong>')
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title, quote=False)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}</body>\n</html>\n"
    )


def _without_tags(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def _embedded(path: Path, pictures: set[Path]) -> str:
    """A picture as a data URL."""
    if path not in pictures:
        raise ConfigError(f"{path}: not a picture of this page")
    return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"
