"""The folder of a report keeps what earlier inspections of the same runs have put there."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqadd.inspection.report_folder import ReportFolder, publish


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
