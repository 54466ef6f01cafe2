"""The folder of a report: its publication, and what earlier inspections of the same runs have left in it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

from seqadd.errors import CannotWrite
from seqadd.evaluation.trained_run import TrainedRun
from seqadd.reporting import markup
from seqadd.system.files import write_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: The file name of the page; it is published last.
PAGE = "index.html"
# The part of the page about one question, in Markdown, in the folder of that question. Its first line names the runs.
_SECTION = "section.md"
_DPI = 110
_MARKED = {"right": "good", "wrong": "bad"}


def check_folder(path: Path) -> None:
    """Raises CannotWrite, in one line, for a folder that cannot be created or written to; creates nothing."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise CannotWrite(f"cannot write {path}: {there} is not a folder")
    if not os.access(there, os.W_OK):
        raise CannotWrite(f"cannot write {path}: no permission to write in {there}")


class ReportFolder:
    """A new folder that files are written to; see ``publish``.

    Attributes:
        path: of the folder.
        pictures: the files that the page may show.
        questions: those on the page, in its order.
    """

    def __init__(self, path: Path, notify: Callable[[str], None]) -> None:
        self.path = path
        self.pictures: list[str] = []
        self.questions: list[str] = []
        self._notify = notify

    def picture(self, figure: Figure, name: str, shows: str) -> str:
        """Writes a figure as ``name.png`` and ``name.svg``; returns the Markdown that shows it."""
        self._notify(name)
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("png", "svg"):
            # Without a date and with a fixed salt for ids, so that the same picture gives the same file.
            with matplotlib.rc_context({"svg.hashsalt": "seqadd"}):
                metadata = {"Date": None} if suffix == "svg" else None
                figure.savefig(self.path / f"{name}.{suffix}", dpi=_DPI, metadata=metadata)
            figure.set_layout_engine("none")  # the first savefig has computed the layout
        self.pictures.append(f"{name}.png")
        return f"![{shows}]({name}.png)\n\n"

    def table(self, table: pd.DataFrame, name: str, *, index: bool = False) -> None:
        """Writes a table as ``name.csv``."""
        table.to_csv(self.path / f"{name}.csv", index=index, float_format="%.6f", lineterminator="\n")

    def question(self, question: str, runs: Sequence[TrainedRun], text: str) -> str:
        """Adds a question, whose files are written already; returns its part of the page."""
        self.questions.append(question)
        section = self.path / folder_of(question) / _SECTION
        section.write_text(f"{_runs_line(runs)}\n{text}", encoding="utf-8", newline="\n")
        return text

    def earlier(self, published: Path | None, runs: Sequence[TrainedRun]) -> str:
        """Adds the questions of earlier inspections of the same runs; returns their parts of the page.

        Args:
            published: the folder that the report is going to be published to; None for a new one.
            runs: the inspected runs; what the folder has of other runs is left out.
        """
        kept = ""
        for path in [] if published is None else sorted(published.glob(f"*/{_SECTION}")):
            name = path.parent.name
            runs_line, _, text = path.read_text(encoding="utf-8", errors="replace").partition("\n")
            pictures = re.findall(r"\]\(([^)]+)\)", text)
            complete = all(each.startswith(f"{name}/") and (path.parents[1] / each).is_file() for each in pictures)
            if runs_line == _runs_line(runs) and complete and not (self.path / name).exists():
                shutil.copytree(path.parent, self.path / name)
                self.questions.append(question_of(name))
                self.pictures += pictures
                kept += text
        return kept

    def page(self, text: str, title: str) -> None:
        """Writes the page from Markdown text, which may show pictures of this folder."""
        pictures = {(self.path / name).resolve() for name in self.pictures}
        (self.path / PAGE).write_text(markup.page(text, title, self.path, pictures, _MARKED), encoding="utf-8")


def publish(gathered: Path, path: Path) -> Path:
    """Copies all files of a folder to another, replacing files of the same names; the page last.

    Raises:
        CannotWrite: names the file.
    """
    files = sorted((each for each in gathered.rglob("*") if each.is_file()), key=lambda each: each.name == PAGE)
    for file in files:
        target = path / file.relative_to(gathered)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"cannot write {target.parent}: {error.strerror or error}") from error
        write_file(target, file.read_bytes())
    return path / PAGE


def folder_of(question: str) -> str:
    """Returns the folder name for a question.

    A plus sign in a URL means a blank; other signs may have a meaning for the file system, or in Markdown.

    Example:
        >>> folder_of("617+397"), folder_of("7*8")
        ('617_397', '7~2a~8')
    """
    return re.sub(r"[^a-zA-Z0-9-]", lambda sign: "_" if sign[0] == "+" else f"~{ord(sign[0]):x}~", question)


def question_of(name: str) -> str:
    """Returns the question of a folder, the inverse of ``folder_of``."""
    return re.sub("~([0-9a-f]+)~", lambda code: chr(int(code[1], 16)), name.replace("_", "+"))


def _runs_line(runs: Sequence[TrainedRun]) -> str:
    return " ".join(f"{run.run_id}:{run.epoch}" for run in runs)
