"""The folder of a report keeps what earlier inspections of the same runs have put there."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqadd.inspection import report_folder
from seqadd.inspection.report_folder import ReportFolder, publish
from seqadd.reporting import markup


def run(run_id: str = "12ab", epoch: int = 3) -> SimpleNamespace:
    return SimpleNamespace(run_id=run_id, epoch=epoch)


def look_at(published: Path, gathered: Path, question: str, *runs: SimpleNamespace) -> list[str]:
    """Publishes a report on one question; returns the questions on its page."""
    gathered.mkdir()
    folder = ReportFolder(gathered, lambda picture: None)
    name = question.replace("+", "_")
    (gathered / name).mkdir()
    (gathered / name / "layers.png").write_bytes(question.encode())
    folder.pictures.append(f"{name}/layers.png")
    text = folder.question(question, runs, f"## {question}\n\n![layers]({name}/layers.png)\n\n")
    folder.page(text + folder.earlier(published, runs), "report")
    publish(gathered, published)
    page = (published / "index.html").read_text()
    assert page.count("data:image/png") == len(folder.questions)
    assert re.findall("<h2[^>]*>(.*?)</h2>", page) == folder.questions
    return folder.questions


def test_the_page_of_the_same_runs_grows(tmp_path):
    page = tmp_path / "page"
    assert look_at(page, tmp_path / "1", "5+7", run()) == ["5+7"]
    assert look_at(page, tmp_path / "2", "9+9", run()) == ["9+9", "5+7"]
    assert look_at(page, tmp_path / "3", "5+7", run()) == ["5+7", "9+9"]
    assert look_at(page, tmp_path / "4", "1+1", run()) == ["1+1", "5+7", "9+9"]


@pytest.mark.parametrize("others", [[run("34cd")], [run(epoch=2)], [run(), run("34cd")]])
def test_what_other_runs_or_epochs_answered_is_not_shown_as_the_answer_of_these(others, tmp_path):
    look_at(tmp_path / "page", tmp_path / "1", "5+7", run())
    assert look_at(tmp_path / "page", tmp_path / "2", "9+9", *others) == ["9+9"]


def test_a_question_whose_picture_was_removed_is_left_out(tmp_path):
    look_at(tmp_path / "page", tmp_path / "1", "5+7", run())
    (tmp_path / "page" / "5_7" / "layers.png").unlink()
    assert look_at(tmp_path / "page", tmp_path / "2", "9+9", run()) == ["9+9"]


@pytest.mark.parametrize(
    ("question", "name"),
    [("617+397", "617_397"), ("12-345", "12-345"), ("7*8", "7~2a~8"), ("1/2", "1~2f~2"), ("_", "~5f~")],
)
def test_the_folder_of_any_question_is_one_below_and_says_which_it_is(question, name):
    assert report_folder.folder_of(question) == name
    assert report_folder.question_of(name) == question


def test_a_question_is_on_the_page_as_it_is_whatever_its_signs_mean_in_markdown(tmp_path):
    page = markup.page(f"## {markup.escape('7*8*9|_a_')}", "report", tmp_path, set(), {})
    assert "7*8*9|_a_</h2>" in page
