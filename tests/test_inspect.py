"""The command that looks inside a run: what it prints, what it writes, what it refuses."""

import io
import re
from pathlib import Path

import browser
import pandas as pd
import pytest
from conftest import client_of
from PIL import Image
from rich.console import Console
from trained_runs import record_run

from seqadd import inspect, inspection, inspection_files, trained

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


def load(runs: tuple[Path, dict[str, str]], kind: str) -> trained.TrainedRun:
    folder, ids = runs
    return trained.load_run(f"run={ids[kind]}", f"tracking.uri=sqlite:///{folder}/mlflow.db")


@pytest.fixture(scope="module")
def looked(runs, tmp_path_factory):
    """The page of an LSTM, with its files beside it."""
    seen = inspection.inspect_run(load(runs, "lstm"), ["5+7", "9+9"])
    return inspection_files.write_inspection(seen, tmp_path_factory.mktemp("looked"))


def test_one_run_becomes_pictures_and_tables(looked, runs):
    for name in (
        "5_7/layers",
        "5_7/lstm_1",
        "5_7/lstm_2",
        "9_9/layers",
        "accuracies",
        "confusion",
        "weights",
        "saturation",
    ):
        with Image.open(looked.parent / f"{name}.png") as picture:
            assert min(picture.size) > 300
        assert (looked.parent / f"{name}.svg").read_text().startswith("<?xml")
    assert len(pd.read_csv(looked.parent / "predictions.csv")) == 11
    assert pd.read_csv(looked.parent / "5_7" / "answer.csv")["answer"].astype(str).tolist() == ["1", "2"]
    n_weights = sum(weights.size for weights in load(runs, "lstm").model.get_weights())
    assert pd.read_csv(looked.parent / "weights.csv")["values"].sum() == n_weights
    printed = (looked.parent / "weights.txt").read_text()
    assert "lstm_1/recurrent_kernel (6, 24)\n[[" in printed
    assert not re.search(r"\de-\d", printed)  # no scientific notation


@pytest.mark.skipif(browser.PROGRAM is None, reason="no browser")
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_in_a_browser(width, looked, tmp_path):
    seen = browser.look(looked, width, tmp_path)
    assert seen["width"] <= width
    assert len(seen["images"]) == 2 * 3 + 4
    assert all(pixels > 300 for pixels in seen["images"])
    assert set(seen["colours"]) <= {"good", "bad"}


def test_the_page_needs_no_other_file(looked):
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', looked.read_text())
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)


@pytest.mark.parametrize("kind", ["gru", "aligned"])
def test_every_architecture_and_cell_can_be_looked_into(kind, runs, tmp_path):
    page = inspection_files.write_inspection(inspection.inspect_run(load(runs, kind), ["5+7"]), tmp_path)
    cell = "lstm" if kind == "aligned" else kind
    assert f"{cell}_1, step by step" in page.read_text()
    assert (tmp_path / "5_7" / f"{cell}_1.png").exists()


def test_the_command_prints_the_answer_and_puts_its_files_into_the_run(runs, inspected):
    """A Dense run, which has no gates to show."""
    folder, ids = runs
    code, out, err = inspected(f"run={ids['dense']}", "question=5+7", "--errors", "3")
    assert (code, err) == (0, "")
    assert re.search(r'^5\+7 = 12, .*, read as "7\+5": says .*, (right|wrong)$', out, re.MULTILINE)
    # Errors are the first of the held-out sums, in their order, which is random; this model has them all wrong.
    wrong = inspection.held_out(load(runs, "dense")).sums.query("not right")["question"].tolist()
    assert re.findall(r"^(\d+\+\d+) = .*, wrong$", out, re.MULTILINE)[-3:] == [q for q in wrong if q != "5+7"][:3]
    written = Path("inspect") / ids["dense"][:8]
    assert out.rstrip().endswith(str(written / "index.html"))
    assert "step by step" not in (written / "index.html").read_text()
    recorded = {file.path for file in client_of(folder).list_artifacts(ids["dense"], "inspect")}
    assert {"inspect/index.html", "inspect/weights.svg", "inspect/5_7"} <= recorded


def test_several_runs_are_set_side_by_side(runs, inspected):
    folder, ids = runs
    code, out, err = inspected(f"run={ids['lstm']},{ids['gru']}", "question=5+7")
    assert (code, err) == (0, "")
    assert re.search(r"^lstm, epochs 3: 5\+7 = 12, .*$", out, re.MULTILINE)
    assert re.search(r"^gru, epochs 1: 5\+7 = 12, .*$", out, re.MULTILINE)
    written = folder / "inspect" / f"{ids['lstm'][:8]}_{ids['gru'][:8]}"
    assert (written / "5_7" / "side_by_side.svg").exists()
    assert not (written / "5_7" / "learning.gif").exists()
    saturation = pd.read_csv(written / "saturation.csv")
    assert saturation["of"].unique().tolist() == ["lstm, epochs 3", "gru, epochs 1"]


def test_several_epochs_of_a_run_are_animated(runs, inspected):
    folder, ids = runs
    code, _, err = inspected(f"run={ids['lstm']}", "epoch=all", "question=5+7")
    assert (code, err) == (0, "")
    name = f"{ids['lstm'][:8]}_epochs"
    with Image.open(folder / "inspect" / name / "5_7" / "learning.gif") as animation:
        assert animation.n_frames >= 1  # equal weights, which these snapshots have, may become one frame
    assert "data:image/gif" in (folder / "inspect" / name / "index.html").read_text()
    recorded = {file.path for file in client_of(folder).list_artifacts(ids["lstm"], f"inspect_{name}")}
    assert f"inspect_{name}/index.html" in recorded


def test_what_is_printed_needs_neither_colour_nor_more_than_ascii(runs):
    seen = inspection.inspect_run(load(runs, "lstm"), ["5+7"])
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    inspection.print_inspection(seen, Console(file=ascii_only))
    plain = raw.getvalue().decode("ascii")
    assert "\x1b" not in plain
    assert re.search(r"^Q \d\+\d  T \d+ *  (ok|no) ", plain, re.MULTILINE)
    raw = io.BytesIO()
    utf_8 = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    inspection.print_inspection(seen, Console(file=utf_8, force_terminal=True, color_system="standard"))
    coloured = raw.getvalue().decode()
    assert "\x1b[31m✗" in coloured or "\x1b[32m✓" in coloured


def test_what_is_wrong_is_not_shown_by_colour_alone(runs):
    lines = inspection.sample(inspection.held_out(load(runs, "lstm")).sums, "utf-8")
    assert all("✓" in line.plain or "✗" in line.plain for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["question=5-7"], "question=5-7: '-' is no character of a sum; write it as 535+61 (run "),
        (["question=5"], "question=5: is no sum of two numbers"),
        (["question=793+716"], "question=793+716: 793 has 3 digits, the sums of this task at most 1 (run "),
        (["question="], "question=: is no sum of two numbers"),
        (["run=nobody"], "run=nobody: there is no such run in this store"),
        (["--errors", "-1"], "--errors -1: must be at least 0"),
        (["--out", "mlflow.db"], "--out mlflow.db: is a file; name a folder"),
        (["epoch=ten"], "epoch=ten: must be integers of at least 0, or all"),
        (["run=latest", "seed=3"], "run=latest seed=3: run= names a run, the other chooses one by its configuration"),
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
