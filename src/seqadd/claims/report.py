"""Assembles the claims' folders to one report, in Markdown and as a self-contained web page. Computes nothing.

A claim's section is its README with its table; the pictures are its figures.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.claims import loading, results, tables, verdicts
from seqadd.claims.claim import BEGIN, END, Claim
from seqadd.errors import ConfigError
from seqadd.reporting import markup
from seqadd.system.files import resource_dir, write_file

if TYPE_CHECKING:
    import pandas as pd

_NAMES = ("report.md", "report.html")
_MARKED = {verdicts.REPRODUCED: "good", verdicts.NOT_REPRODUCED: "bad", verdicts.UNDECIDED: "open"}

_TOP = """# The article's claims, run again

The 2018 article [Seq2Seq 모델 디버깅](https://likejazz.com/seq2seq/) (likejazz) trains Keras models to add three-digit
numbers. It builds on the Keras example [addition_rnn](https://keras.io/examples/nlp/addition_rnn/). This report
compares each number of both with a distribution over seeds. The article's text is `_posts/2018-06-20-seq2seq.md` in
[likejazz.github.io](https://github.com/likejazz/likejazz.github.io). Its two scripts are in
[jupyter-notebooks](https://github.com/likejazz/jupyter-notebooks), folder `deep-learning`.

**{verdicts}.** The report has {runs} runs, {cost} of one processor, by commit {commits}.

- A published number is *reproduced* if it lies inside the interval that contains one more run in 95 of 100 cases, *not
  reproduced* if it lies outside. It is *undecided* if the interval is so wide that almost any number lies inside.
- A claimed direction is *reproduced* if the 95 % interval of the difference, paired over seeds, lies on the claimed
  side of zero, *not reproduced* if it lies on the other side. It is *undecided* if the interval contains zero.

What a verdict means, and what it does not mean: {page}.

`python -m seqadd.reproduce` updates the report; `python -m seqadd.reproduce CLAIM` updates one claim.

"""


def report_folder(experiments: Path) -> Path:
    """Returns the folder of a report: ``docs`` for this project's own claims, else the folder of the claims."""
    docs = experiments.resolve().parent / "docs"
    return docs if experiments.resolve() == resource_dir("experiments") and docs.is_dir() else experiments


def build(experiments: Path, chosen: Sequence[Claim]) -> tuple[str, str]:
    """Returns the report in Markdown and in HTML.

    Args:
        experiments: the folder of the claims.
        chosen: all claims, in the order of the report.

    Raises:
        ConfigError: when a claim's results cannot be read.
    """
    done = [claim for claim in chosen if _has_results(claim)]
    rows = {claim.name: results.read_rows(claim.folder) for claim in done}
    runs = {claim.name: results.read_runs(claim.folder) for claim in done}
    text = _top(done, rows, runs, report_folder(experiments))
    lines = [[f"[{claim.name}](#{markup.anchor(claim.title)})", claim.title.partition(": ")[2] or claim.title,
              tables.in_words(rows[claim.name]), tables.duration(results.seconds(runs[claim.name]))]
             for claim in done]  # fmt: skip
    lines += [[claim.name, claim.title.partition(": ")[2], "not run yet", ""] for claim in chosen if claim not in done]
    text += markup.table(["claim", "subject", "verdicts", "processor time"], lines)
    sections = {claim.name: f"#{markup.anchor(claim.title)}" for claim in done}
    for claim in done:
        text += "\n" + _part(claim, experiments, sections)
    pictures = {(claim.folder / name).resolve() for claim in done for name in claim.settings.figures}
    page = _for_browsers(text, experiments, sections)
    return text, markup.page(page, "The article's claims, run again", report_folder(experiments), pictures, _MARKED)


def _has_results(claim: Claim) -> bool:
    return all(
        (claim.folder / name).is_file() for name in ("reproduced.csv", "runs.csv", "table.md", *claim.settings.figures)
    )


def _top(done: list[Claim], rows: dict[str, pd.DataFrame], runs: dict[str, pd.DataFrame], where: Path) -> str:
    import pandas as pd

    if not done:
        raise ConfigError("no claim has results yet; python -m seqadd.reproduce creates them")
    every = pd.concat(runs.values())
    theirs = pd.concat([rows[claim.name] for claim in done if not claim.settings.ours] or rows.values())
    numbers, directions = theirs[theirs["relation"] == "equal"], theirs[theirs["relation"] != "equal"]
    summary = f"Published numbers: {tables.in_words(numbers)}"
    if (directions["relation"] != "").any():
        summary += f". Claimed limits and directions: {tables.in_words(directions)}"
    return _TOP.format(
        verdicts=summary,
        runs=len(every.drop_duplicates(["data_digest", "first_losses"])),
        cost=tables.duration(results.seconds(every)),
        commits=", ".join(sorted(set(every["commit"]))),
        page="[verdicts](verdicts.md)" if (where / "verdicts.md").is_file() else "docs/verdicts.md of seqadd's sources",
    )


def _part(claim: Claim, experiments: Path, sections: Mapping[str, str]) -> str:
    """Returns a claim's README as a section: headings one level lower, table after results, links from the report.

    Args:
        claim: the claim.
        experiments: the folder of the claims.
        sections: the link to each claim's section; a link to its README becomes this one.
    """
    readme = (claim.folder / "README.md").read_text(encoding="utf-8")
    table = (claim.folder / "table.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    summary, _, after = rest.partition(END)
    summary = summary.replace("[table.md](table.md), ", "")  # it follows
    text = f"{before.rstrip()}\n\n{summary.strip()}\n\n{table.strip()}\n\n{after.strip()}\n"
    text = re.sub(r"^#", "##", text, flags=re.MULTILINE)
    up = Path("..") / experiments.name if report_folder(experiments) != experiments else Path()
    here = (up / claim.name).as_posix()
    text = re.sub(r"\]\((?!https?:|#)([^)]+)\)", lambda link: f"]({posixpath.normpath(f'{here}/{link[1]}')})", text)
    text = _to_sections(text, sections)
    # A link to a file that does not exist here, because it is only in a clone, becomes plain text.
    return re.sub(
        r"(?<!!)\[([^][]*)\]\((?!https?:|#)([^)#]+)[^)]*\)",
        lambda link: link[0] if (report_folder(experiments) / link[2]).exists() else link[1],
        text,
    )


def _to_sections(text: str, sections: Mapping[str, str]) -> str:
    """Replaces links to claims' READMEs by links to their sections."""
    return re.sub(
        r"\]\([^)]*?(\w+)/README\.md(?:#[^)]*)?\)",
        lambda link: f"]({sections[link[1]]})" if link[1] in sections else link[0],
        text,
    )


def _for_browsers(text: str, experiments: Path, sections: Mapping[str, str]) -> str:
    """Returns the report without links to Markdown and code, which browsers show as plain text.

    The page about verdicts becomes a section; of other files the path is given.
    """
    verdicts_page = report_folder(experiments) / "verdicts.md"
    if verdicts_page.is_file():
        about = re.sub(r"^#", "##", verdicts_page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        text += "\n" + _to_sections(about, sections)
        text = re.sub(r"\]\((?:\.\./docs/)?verdicts\.md(?:#[^)]*)?\)", "](#verdicts)", text)
    text = re.sub(r"\]\((?:\.\./docs/)?report\.md(?:#[^)]*)?\)", "](#top)", text)
    return re.sub(
        r"(?<!!)\[([^][]*)\]\((?!https?:|#)([^)#]+\.(?:md|py|yaml))[^)]*\)",
        lambda link: (
            f"{link[1]} (`{_path_of(link[2], experiments)}`)" if Path(link[2]).name not in link[1] else link[1]
        ),
        text,
    )


def _path_of(link: str, experiments: Path) -> str:
    """Returns the path of a linked file: from the top of the clone, or from the folder of claims elsewhere."""
    folder = report_folder(experiments)
    return posixpath.normpath(link if folder == experiments else posixpath.join(folder.name, link))


def write(experiments: Path) -> list[Path]:
    """Writes the report; returns the paths of its files, an empty list if no claim has results yet.

    Raises:
        CannotWrite: names the file.
    """
    every = loading.read_all(experiments, notify=lambda line: None)  # reproduce has named what is left out
    if not any(map(_has_results, every)):
        return []
    paths = [report_folder(experiments) / name for name in _NAMES]
    for path, text in zip(paths, build(experiments, every), strict=True):
        write_file(path, text)
    return paths


def check(experiments: Path, chosen: Sequence[Claim]) -> list[str]:
    """Returns the report's files that do not follow from the claims' folders, a line each."""
    try:
        texts = build(experiments, chosen)
    except (ConfigError, OSError) as error:
        return [str(error)]
    paths = [report_folder(experiments) / name for name in _NAMES]
    return [
        f"{path.name} does not follow from the claims' folders"
        for path, text in zip(paths, texts, strict=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
