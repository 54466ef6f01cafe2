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


def escape(text: str) -> str:
    """Escapes the characters of a text that have a meaning in Markdown: ``7*8*9`` is not ``7`` and an emphasized 8."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", text)


def sanitize(text: str) -> str:
    """Sanitizes a text of the store, which is untrusted, so that it has no effect in CSV, Markdown or HTML."""
    return re.sub(r"[^\w .,:;()@+/-]", "?", text)[:200]


def anchor(title: str) -> str:
    """The anchor of a heading, as GitHub forms it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


# The anchor of the whole page, and from how many sections on it has a list of them.
_TOP, _SECTIONS = "top", 3

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #00664a; --bad: #a84300; --open: #666; }
@media (prefers-color-scheme: dark) { :root { --good: #3fd0a4; --bad: #ff9a5c; --open: #aaa; } img { background: #fff } }
body { font: 1rem/1.55 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
img { max-width: 100%; height: auto; } pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); }
figure { margin: 1.5rem 0; } figcaption { font-size: .85rem; }
code { font-size: .9em; overflow-wrap: anywhere; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; margin: 1rem 0; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top; }
td code { font-size: .85em; overflow-wrap: normal; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
.good::before { content: "\\2713\\00a0"; } .bad::before { content: "\\2717\\00a0"; }
.open::before { content: "?\\00a0"; }
nav ul { list-style: none; padding: 0; } nav li { margin: .3rem 0; line-height: 1.3; }
.up { position: fixed; right: .6rem; bottom: .6rem; padding: .3rem .7rem; border: 1px solid var(--line); border-radius: 1rem; background: Canvas; }
@media (min-width: 80rem) {
  body { padding-left: 17rem; } .up { display: none; }
  nav { position: fixed; left: 0; top: 0; bottom: 0; width: 14rem; padding: 0 1rem; overflow-y: auto; border-right: 1px solid var(--line); font-size: .85rem; }
}
@media screen and (max-width: 45rem) {
  table, tbody { display: block; } thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: .15rem 1rem; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { border: 0; padding: 0; max-width: 100%; overflow-wrap: anywhere; } pre { white-space: pre-wrap; overflow-wrap: anywhere; } td:empty { display: none; }
  td:first-child { flex-basis: 100%; font-weight: bold; }
  td[data-label]::before { content: attr(data-label); display: block; font-size: .75rem; font-weight: normal; opacity: .75; }
}
@media print { nav, .up { display: none } body { max-width: none; font-size: 9pt } h2 { break-before: page } img, tr { break-inside: avoid } .wide { overflow: visible } table { font-size: 6.5pt } }
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
    body = body.replace("&lt;br&gt;", "<br>")
    body = re.sub(
        r"<table>.*?</table>", lambda found: f'<div class="wide">{_with_labels(found[0])}</div>', body, flags=re.S
    )
    body = re.sub(
        r'<p>(<img src="[^"]+" alt="([^"]*)" />)</p>',
        r"<figure>\1<figcaption>\2</figcaption></figure>",
        body,
    )
    for words, kind in marked.items():
        body = body.replace(f"<strong>{words}</strong>", f'<strong class="{kind}">{words}</strong>')
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title, quote=False)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f'<body id="{_TOP}">\n{_contents(body)}{body}</body>\n</html>\n'
    )


def _contents(body: str) -> str:
    """The list of the page's sections, which stays in sight on a wide screen, and a link to it; empty for few."""
    sections = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)
    if len(sections) < _SECTIONS:
        return ""
    items = "".join(f'<li><a href="#{name}">{html.escape(_without_tags(title))}</a></li>\n' for name, title in sections)
    return (
        f'<nav aria-label="Contents">\n<ul>\n<li><a href="#{_TOP}">Top</a></li>\n{items}</ul>\n</nav>\n'
        f'<a class="up" href="#{_TOP}">\u2191 Contents</a>\n'
    )


def _with_labels(table: str) -> str:
    """Adds the column's heading to each cell of a table, for narrow screens, which show a row as a block."""
    labels = [_without_tags(cell) for cell in re.findall(r"<th>(.*?)</th>", table, flags=re.S)]

    def row(found: re.Match[str]) -> str:
        names = iter(labels)

        def cell(_: re.Match[str]) -> str:
            name = next(names, "")
            return f'<td data-label="{html.escape(name)}">' if name else "<td>"

        # Long names break after "_" and "=", and nowhere else.
        return re.sub(r"([_=])(?=\w)(?![^<>]*>)", r"\1<wbr>", re.sub(r"<td>", cell, found[0]))

    return re.sub(r"<tr>.*?</tr>", row, table, flags=re.S)


def _without_tags(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def _embedded(path: Path, pictures: set[Path]) -> str:
    """A picture as a data URL."""
    if path not in pictures:
        raise ConfigError(f"{path}: not a picture of this page")
    return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"
