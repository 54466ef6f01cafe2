"""The inspect command: output, files and errors."""

import dataclasses
import io
import re
from pathlib import Path

import browser
import numpy as np
import pandas as pd
import pytest
from conftest import client_of
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from trained_runs import record_run

from seqadd import ConfigError, Run, inspect
from seqadd.evaluation import run_selection, trained_run
from seqadd.evaluation.questions import encode_questions
from seqadd.inspection import analysis, html_report, report_folder, terminal, trace

NO_DECODER = "decoder_units=null"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return folder, {
        "lstm": record_run(folder, "cell=lstm", "epochs=3", keeps=(1, 2)),
        "gru": record_run(folder, "cell=gru", "epochs=1"),
        "simple_rnn": record_run(folder, "cell=simple_rnn", "epochs=1"),
        "aligned": record_run(folder, "cell=lstm", "architecture=aligned", NO_DECODER, "epochs=1"),
        "dense": record_run(folder, "cell=dense", NO_DECODER, "epochs=1"),
    }


@pytest.fixture
def inspected(runs, call, monkeypatch):
    """Calls the command in the store's folder."""
    monkeypatch.chdir(runs[0])
    return lambda *words: call(inspect.main, *words)


def load(runs: tuple[Path, dict[str, str]], kind: str) -> trained_run.TrainedRun:
    folder, ids = runs
    return run_selection.load_run(f"run={ids[kind]}", f"tracking.uri=sqlite:///{folder}/mlflow.db")


def test_python_gets_the_commands_pictures_by_name_and_a_notebook_can_show_them(runs):
    folder, ids = runs
    config = load(runs, "lstm").config
    config.tracking.uri = f"sqlite:///{folder}/mlflow.db"
    pictures = Run(ids["lstm"], config).inspect("1 + 2")
    assert list(pictures) == ["layers", "lstm_1", "lstm_2"]
    assert pictures["layers"].get_suptitle().startswith("1+2 = 3: says ")
    assert pictures["lstm_1"]._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="question=1-2: '-' is no character of a sum"):
        Run(ids["lstm"], config).inspect("1-2")


RENDER = Figure.savefig


def save_empty(figure: Figure, file: Path | io.BytesIO, **settings: object) -> None:
    """Saves an empty picture in place of a figure, for to render one takes most of the time of a page.

    The frames of an animation, which are not saved as files, are rendered.
    """
    if not isinstance(file, Path):
        RENDER(figure, file, **settings)
    elif file.suffix == ".svg":
        file.write_text("<?xml")
    else:
        Image.new("RGB", (320, 320)).save(file)


@pytest.fixture
def empty_pictures(monkeypatch):
    monkeypatch.setattr(Figure, "savefig", save_empty)


@pytest.fixture(scope="module")
def looked(runs, tmp_path_factory):
    """The path of an LSTM's page, with its files beside it; figures of the second question are not rendered."""
    folder = tmp_path_factory.mktemp("looked")

    def save(figure: Figure, file: Path, **settings: object) -> None:
        (save_empty if file.parent.name == "9_9" else RENDER)(figure, file, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        html_report.write_inspection(analysis.inspect_run(load(runs, "lstm"), ["5+7", "9+9", "05+7"]), folder)
    return folder / report_folder.PAGE


def test_one_run_becomes_pictures_and_tables(looked, runs):
    for name in (
        "5_7/layers",
        "5_7/lstm_1",
        "5_7/lstm_2",
        "accuracies",
        "confusion",
        "weights",
        "saturation",
    ):
        with Image.open(looked.parent / f"{name}.png") as picture:
            assert min(picture.size) > 300
        assert (looked.parent / f"{name}.svg").read_text().startswith("<?xml")
    assert (looked.parent / "9_9" / "layers.png").exists()
    assert len(pd.read_csv(looked.parent / "predictions.csv")) == 11
    assert pd.read_csv(looked.parent / "5_7" / "answer.csv")["answer"].astype(str).tolist() == ["1", "2"]
    n_weights = sum(weights.size for weights in load(runs, "lstm").model.get_weights())
    assert pd.read_csv(looked.parent / "weights.csv")["values"].sum() == n_weights
    printed = (looked.parent / "weights.txt").read_text()
    assert "lstm_1/recurrent_kernel (6, 24)\n[[" in printed
    assert not re.search(r"\de-\d", printed)  # no scientific notation


@pytest.mark.skipif(browser.PROGRAM is None, reason="no browser")
def test_the_page_in_a_browser(looked, tmp_path):
    widths = [390, 1400]
    for width, seen in zip(widths, browser.look(looked, widths, tmp_path), strict=True):
        assert seen["width"] <= width
        assert seen["cut"] == []
        assert len(seen["images"]) == 2 * 3 + 4
        assert all(pixels > 300 for pixels in seen["images"])
        assert set(seen["colours"]) <= {"good", "bad"}


def test_the_page_needs_no_other_file(looked):
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', looked.read_text())
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)


@pytest.mark.parametrize("kind", ["gru", "aligned"])
@pytest.mark.usefixtures("empty_pictures")
def test_every_architecture_and_cell_can_be_looked_into(kind, runs, tmp_path):
    html_report.write_inspection(analysis.inspect_run(load(runs, kind), ["5+7"]), tmp_path)
    cell = "lstm" if kind == "aligned" else kind
    assert f"{cell}_1, step by step" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "5_7" / f"{cell}_1.png").exists()


@pytest.mark.usefixtures("empty_pictures")
def test_the_command_prints_the_answer_and_puts_its_files_into_the_run(runs, inspected):
    """Uses a Dense run, which has no gates."""
    folder, ids = runs
    code, out, err = inspected(f"run={ids['dense']}", "question=5+7", "--errors", "3")
    assert (code, err) == (0, "")
    assert re.search(r'^5\+7 = 12: says .*, (right|wrong) \(.*, read as "7\+5"\)$', out, re.MULTILINE)
    # Errors are chosen in the held-out sums' order, which is random; this model gets all sums wrong.
    wrong = analysis.held_out(load(runs, "dense")).sums.query("not right")["question"].tolist()
    assert re.findall(r"^(\d+\+\d+) = .*, wrong \(", out, re.MULTILINE)[-3:] == [q for q in wrong if q != "5+7"][:3]
    written = Path("inspect") / ids["dense"][:8]
    assert out.rstrip().endswith(str(written / "index.html"))
    assert "step by step" not in (written / "index.html").read_text()
    recorded = {file.path for file in client_of(folder).list_artifacts(ids["dense"], "inspect")}
    assert {"inspect/index.html", "inspect/weights.svg", "inspect/5_7"} <= recorded


@pytest.mark.usefixtures("empty_pictures")
def test_several_runs_are_set_side_by_side(runs, inspected):
    folder, ids = runs
    code, out, err = inspected(f"run={ids['lstm']},{ids['gru']}", "question=5+7")
    assert (code, err) == (0, "")
    written = folder / "inspect" / f"{ids['lstm'][:8]}_{ids['gru'][:8]}"
    answers = pd.read_csv(written / "5_7" / "answer.csv", dtype=str)
    for label, kind in (("lstm, epochs 3", "lstm"), ("gru, epochs 1", "gru")):
        (traced,) = trace.trace(load(runs, kind).model, encode_questions(load(runs, kind).config, ["5+7"]))
        assert f"{label}: {traced.summary} (" in out
        of_label = answers[answers["of"] == label]
        p = float(of_label["p_answer"].astype(float).prod())
        assert p == pytest.approx(np.take_along_axis(traced.probabilities, np.array([[3], [4]]), 1).prod(), abs=1e-5)
        assert f">{p:.4f}</td>" in (written / "index.html").read_text()
    accuracies = pd.read_csv(written / "accuracies.csv")
    assert accuracies["of"].tolist() == ["lstm, epochs 3", "gru, epochs 1"]
    assert accuracies["all right"].tolist() == [
        pytest.approx(analysis.held_out(load(runs, kind)).exact_match, abs=1e-4) for kind in ("lstm", "gru")
    ]
    assert (written / "5_7" / "side_by_side.svg").exists()
    assert not (written / "5_7" / "learning.gif").exists()
    saturation = pd.read_csv(written / "saturation.csv")
    assert saturation["of"].unique().tolist() == ["lstm, epochs 3", "gru, epochs 1"]
    for run_id in (ids["lstm"], ids["gru"]):  # a comparison is an artifact of neither run
        assert not [file for file in client_of(folder).list_artifacts(run_id) if file.path.startswith("inspect")]


def test_of_many_runs_all_are_shown_of_many_epochs_some_evenly(runs):
    run = load(runs, "dense")
    of_runs = [dataclasses.replace(run, run_id=str(n)) for n in range(7)]
    of_epochs = [dataclasses.replace(run, epoch=n) for n in range(9)]
    for several, grids in (
        (of_runs, [[0, 1, 2, 3, 4], [5, 6]]),
        (of_epochs, [[0, 2, 4, 6, 8]]),
        (of_epochs[:3], [[0, 1, 2]]),
    ):
        comparison = analysis.Comparison(several, [], [], [], [], [])
        assert html_report._grids(comparison) == grids


def test_runs_of_different_tasks_are_asked_what_all_can_read(runs, tmp_path):
    two_digits = record_run(tmp_path, "cell=dense", NO_DECODER, "epochs=1", "task.digits=2", "task.n_questions=2000")
    other = run_selection.load_run(f"run={two_digits}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    found = analysis.compare([load(runs, "dense"), other], ["one", "two"], [])
    assert [len(traced.question.text) for traced in found.traces[0]] == [3, 3]


def test_what_was_mixed_up_is_shown_and_what_was_right_is_left_blank():
    confusion = pd.DataFrame(np.full((12, 12), 3), index=list(" +0123456789"))
    shown = html_report.confusion_heatmap(confusion)
    values = shown.values
    assert shown.rows == shown.columns == list("␣+0123456789")
    assert np.isnan(np.diag(values)).all()
    assert np.nansum(values) == 3 * (144 - 12)


@pytest.mark.usefixtures("empty_pictures")
def test_only_what_was_looked_at_goes_into_the_runs_artifacts(runs, inspected, tmp_path):
    folder, ids = runs
    (tmp_path / "secret.txt").write_text("secret")
    quiet = ("question=5+7", "--out", str(tmp_path))
    assert inspected(f"run={ids['simple_rnn']}", *quiet, "--no-record")[0] == 0
    assert not [file for file in client_of(folder).list_artifacts(ids["simple_rnn"]) if "inspect" in file.path]
    uri = f"tracking.uri=sqlite:///{folder}/mlflow.db"
    assert inspected(f"run={ids['simple_rnn']}", *quiet, uri)[0] == 0
    again = f"python -m seqadd.inspect run={ids['simple_rnn']} question=5+7 {uri}\n"
    assert again in (tmp_path / "index.html").read_text()
    recorded = {file.path for file in client_of(folder).list_artifacts(ids["simple_rnn"], "inspect")}
    assert "inspect/index.html" in recorded
    assert "inspect/secret.txt" not in recorded
    assert (tmp_path / "secret.txt").read_text() == "secret"


@pytest.mark.usefixtures("empty_pictures")
def test_a_second_inspection_of_a_run_adds_to_its_page_and_keeps_what_the_first_showed(runs, inspected, tmp_path):
    _, ids = runs
    into = ("--out", str(tmp_path), "--no-record")
    assert inspected(f"run={ids['simple_rnn']}", "question=5+7", *into)[0] == 0
    code, out, err = inspected(f"run={ids['simple_rnn']}", "question=9+9", *into)
    assert (code, err) == (0, "")
    assert out.endswith("with the earlier 5+7\n")
    page = (tmp_path / "index.html").read_text()
    assert re.findall("<h2[^>]*>(. [+] .)</h2>", page) == ["9 + 9", "5 + 7"]
    assert page.count("<img") == 2 * 3 + 4  # all pictures of both, each once
    assert f"run={ids['simple_rnn']} question=9+9,5+7\n" in page


@pytest.mark.usefixtures("empty_pictures")
def test_several_epochs_of_a_run_are_animated(runs, inspected):
    folder, ids = runs
    code, _, err = inspected(f"run={ids['lstm']}", "epoch=all", "question=5+7")
    assert (code, err) == (0, "")
    name = f"{ids['lstm'][:8]}_epochs"
    with Image.open(folder / "inspect" / name / "5_7" / "learning.gif") as animation:
        assert animation.n_frames == 3  # their titles differ
    assert "data:image/gif" in (folder / "inspect" / name / "index.html").read_text()
    recorded = {file.path for file in client_of(folder).list_artifacts(ids["lstm"], f"inspect_{name}")}
    assert f"inspect_{name}/index.html" in recorded


def test_what_is_printed_needs_neither_colour_nor_more_than_ascii(runs):
    seen = analysis.inspect_run(load(runs, "lstm"), ["5+7"])
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    terminal.print_inspection(seen, Console(file=ascii_only))
    plain = raw.getvalue().decode("ascii")
    assert "\x1b" not in plain
    assert re.search(r"^Q \d\+\d  T \d+ *  (ok|no) ", plain, re.MULTILINE)
    raw = io.BytesIO()
    utf_8 = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    terminal.print_inspection(seen, Console(file=utf_8, force_terminal=True, color_system="standard"))
    coloured = raw.getvalue().decode()
    assert "\x1b[31m✗" in coloured or "\x1b[32m✓" in coloured


def test_a_narrow_terminal_cuts_no_number(runs):
    seen = analysis.inspect_run(load(runs, "lstm"), ["5+7"])
    printed = io.StringIO()
    terminal.print_inspection(seen, Console(file=printed, width=40))
    assert "…" not in printed.getvalue()
    assert f"{seen.held_out.exact_match:.4f}" in printed.getvalue()


def test_what_is_wrong_is_not_shown_by_colour_alone(runs):
    lines = terminal.sample(analysis.held_out(load(runs, "lstm")).sums, "utf-8")
    assert all("✓" in line.plain or "✗" in line.plain for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["question=5-7"], "question=5-7: '-' is no character of a sum; write it as 535+61 (run "),
        (["question=5"], "question=5: is no sum of two numbers"),
        (["question=793+716"], "question=793+716: 793 has 3 digits, the sums of this task at most 1 (run "),
        (["question="], "question=: is no sum of two numbers"),
        (["run=nobody"], "run=nobody: no such run in this store"),
        (["--errors", "-1"], "--errors -1: must be in 0..50; predictions.csv lists all"),
        (["--out", "mlflow.db/x"], "cannot write mlflow.db/x: "),
        (["epoch=ten"], "epoch=ten: must be integers of at least 0, or all"),
        (["run=latest", "seed=3"], "run=latest seed=3: choose runs by run=ID or by their configuration"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(words, said, inspected, runs):
    before = sorted(runs[0].rglob("*"))
    code, out, err = inspected(*words)
    assert code != 0
    assert out == ""
    assert err.startswith(f"seqadd: {said}")
    assert err.count("\n") == 1
    assert [path for path in sorted(runs[0].rglob("*")) if path not in before] == []


def test_help_names_what_can_be_asked(call):
    code, out, _ = call(inspect.main, "--help")
    assert code == 0
    for word in ("run=latest", "question=", "epoch=", "--errors", "--out", "inspect.every"):
        assert word in out
