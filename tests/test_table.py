"""The table of hand-written runs, so that every number in it can be checked by eye."""

import collections
import csv
import io
import math
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import pandas as pd
import pytest
from conftest import make_config, quick_database
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from matplotlib.figure import Figure
from mlflow import MlflowClient
from rich.console import Console

from seqadd import table as table_command
from seqadd.comparison import missing, table
from seqadd.comparison.curves import ConditionRuns, find_runs, learning_curves
from seqadd.config import composition
from seqadd.config.schema import Config
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir
from seqadd.tracking import connection, recording
from seqadd.tracking.run_filter import ALL_RUNS, RunFilter
from seqadd.tracking.store import RunRecord, RunsByStatus


def record(
    config: Config,
    curve: dict[int, tuple[float, float]],
    params: dict[str, str] | None = None,
    rows: list[dict[str, float]] | None = None,
    **tags: str,
) -> str:
    """Records a finished run with (acc, val_acc) after some epochs; ``user`` becomes MLflow's tag."""
    quick_database(Path.cwd())
    store = connection.open_store(config.tracking)
    tags = {"condition_hash": config.condition_hash(), "git_commit": "abcdef0123456789", **tags}
    if "user" in tags:
        tags["mlflow.user"] = tags.pop("user")
    with (
        store.run_directory(uuid.uuid4().hex).lock(print) as run_dir,
        recording.record(
            store, run_dir, "any name", params=config.result_keys() if params is None else params, tags=tags
        ) as run,
    ):
        run.log_history(rows or [{"epoch": epoch, "acc": acc, "val_acc": val} for epoch, (acc, val) in curve.items()])
    return run.run_id


def make_table(*overrides: str, epochs=(10, 50), metrics=("acc", "val_acc"), run_filter=ALL_RUNS) -> list[list[str]]:
    selection = composition.compose_selection(overrides)
    curves = learning_curves(find_runs(selection, run_filter), selection, metrics, epochs)
    published = table.read_published(table_command.parse_arguments([]).published)
    return table.lay_out(table.summarize(curves, selection, published, epochs, metrics), selection)


def test_one_run_fills_all_its_rows_beside_the_published_numbers(in_empty_folder):
    record(make_config("cell=lstm"), {9: (0.1, 0.1), 10: (0.37, 0.3614), 50: (0.6, 0.61)})
    assert make_table("cell=lstm") == [
        ["epochs", "", "lstm"],
        ["10", "measured", "(0.3700, 0.3614)"],
        ["", "published", "(0.3600, 0.3594)"],
        ["", "difference", "(+0.0100, +0.0020)"],
        ["50", "measured", "(0.6000, 0.6100)"],
        ["", "published", "(0.6373, 0.6376)"],
        ["", "difference", "(-0.0373, -0.0276)"],
    ]


def test_several_seeds_give_mean_and_spread(in_empty_folder):
    for seed, value in enumerate([0.3, 0.4, 0.5]):
        record(make_config("cell=gru", f"seed={seed}"), {10: (value, value + 0.1)})
    assert make_table("cell=gru", epochs=[10])[1:] == [
        ["10", "measured", "(0.4000, 0.5000)"],
        ["", "spread", "±(0.1000, 0.1000) n=3"],
        ["", "published", "(0.4195, 0.4269)"],
        ["", "difference", "(-0.0195, +0.0731)"],
    ]
    rows = make_table("cell=gru", "seed=0,1", epochs=[10])[1:3]
    assert [row[2] for row in rows] == ["(0.3500, 0.4500)", "±(0.0707, 0.0707) n=2"]


def test_a_missing_field_says_missing(in_empty_folder):
    record(make_config("cell=lstm"), {10: (0.37, 0.36)})
    lines = make_table("cell=lstm,gru")
    assert lines[0] == ["epochs", "", "lstm", "gru"]
    assert [line[2:] for line in lines if line[1] == "measured"] == [["(0.3700, 0.3600)", "missing"], ["missing"] * 2]


def test_one_missing_metric_does_not_hide_the_other(in_empty_folder):
    record(make_config("cell=lstm"), {10: (0.37, 0.36)})
    assert make_table("cell=lstm", epochs=[10], metrics=["acc", "binary_accuracy"])[1:3] == [
        ["10", "measured", "(0.3700, missing)"],
        ["", "published", "(0.3600, )"],
    ]


def test_the_notes_speak_of_the_runs_in_the_table_only(call):
    for seed, reached in enumerate([20, 20, 5]):
        curve = {epoch: (0.5, 0.5) for epoch in (5, 10, 20) if epoch <= reached}
        record(make_config("cell=lstm", f"seed={seed}"), curve, git_commit="aaaa" if reached > 5 else "bbbb")
    _, out, _ = call(table_command.main, "cell=lstm", "--epochs", "10,20")
    assert "seeds: lstm 0, 1\ncommit: aaaa\n" in out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Era,epochs,metric,value\nkeras2,10,acc,0.5\n", "unknown column Era"),
        ("epochs,value\n10,0.5\n", "lacks the column metric"),
        ("epochs,metric,value\n10,acc,0.5\n50,acc,half\n", "line 3: 'half' is not a number"),
    ],
)
def test_published_numbers_that_make_no_sense_are_refused(content, said, tmp_path):
    (tmp_path / "published.csv").write_text(content)
    with pytest.raises(ConfigError, match=said):
        table.read_published(tmp_path / "published.csv")


def test_other_runs_do_not_leak_in(in_empty_folder):
    record(make_config(), {10: (0.37, 0.36)})
    for other in (
        "encoder_units=65",
        "era=keras3",
        "loss=binary",
        "reverse=false",
        "batch_size=64",
        "learning_rate=0.01",
    ):
        record(make_config(other), {10: (0.9, 0.9)})
    record(make_config("tracking.experiment=another"), {10: (0.9, 0.9)})
    assert make_table("cell=lstm", epochs=[10])[1][2] == "(0.3700, 0.3600)"


def test_of_one_seed_the_newest_run_that_reached_an_epoch_counts(in_empty_folder):
    record(make_config("epochs=50"), {10: (0.1, 0.1), 50: (0.5, 0.5)})
    record(make_config("epochs=10"), {10: (0.2, 0.2)})
    measured = [line[2] for line in make_table("cell=lstm") if line[1] == "measured"]
    assert measured == ["(0.2000, 0.2000)", "(0.5000, 0.5000)"]


def test_any_swept_key_gives_columns(in_empty_folder):
    record(make_config("batch_size=64"), {10: (0.5, 0.5)})
    record(make_config("batch_size=64", "reverse=false"), {10: (0.4, 0.4)})
    assert make_table("cell=lstm", "batch_size=64,512", epochs=[10])[0][2:] == ["batch_size 64", "batch_size 512"]
    lines = make_table("batch_size=64", "cell=lstm,gru", "reverse=true,false", epochs=[10])
    assert lines[0][2:] == [
        "lstm\nreverse true",
        "lstm\nreverse false",
        "gru\nreverse true",
        "gru\nreverse false",
    ]
    assert lines[1:] == [["10", "measured", "(0.5000, 0.5000)", "(0.4000, 0.4000)", "missing", "missing"]]


def test_the_runs_of_one_user_one_commit_or_one_tag_make_a_table_of_their_own(in_empty_folder):
    config = make_config("cell=lstm")
    record(config, {10: (0.1, 0.1)}, user="anna", git_commit="4265967abc", room="north")
    record(config, {10: (0.2, 0.2)}, user="ben", git_commit="4265967abc", room="O'Neill")
    record(config, {10: (0.3, 0.3)}, user="anna", git_commit="fedcba9876", room="north")

    def acc(run_filter: RunFilter) -> str:
        return make_table("cell=lstm", epochs=[10], metrics=["acc"], run_filter=run_filter)[1][2]

    assert acc(ALL_RUNS) == "(0.3000)"
    assert acc(RunFilter(user="ben")) == "(0.2000)"
    assert acc(RunFilter(user="anna")) == "(0.3000)"
    assert acc(RunFilter(user="anna", commit="4265967")) == "(0.1000)"
    assert acc(RunFilter(tags=(("room", "O'Neill"),))) == "(0.2000)"
    assert acc(RunFilter(tags=(("room", "north"), ("git_commit", "4265967abc")))) == "(0.1000)"
    assert acc(RunFilter(user="ann")) == acc(RunFilter(commit="265967a")) == "missing"


def test_a_table_says_whose_runs_it_is_of(call):
    for user in ("anna", "ben"):
        record(make_config("cell=lstm"), {10: (0.5, 0.5)}, user=user, git_commit="4265967abc")
    _, out, _ = call(
        table_command.main, "cell=lstm", "--epochs", "10", "--user", "anna", "--commit", "4265967", "--tag", "a=b"
    )
    assert out == ""  # no run has that tag
    _, out, _ = call(table_command.main, "cell=lstm", "--epochs", "10", "--user", "anna", "--commit", "4265967")
    assert "\nonly runs of user: anna; commit: 4265967\n" in out
    _, out, _ = call(table_command.main, "cell=lstm", "--epochs", "10")
    assert "only runs of" not in out


def test_where_nothing_is_chosen_it_is_said_what_there_is(call):
    for seed, user in enumerate(["anna", "ben", "anna"]):
        record(make_config("cell=lstm", f"seed={seed}"), {10: (0.5, 0.5)}, user=user, git_commit="4265967abcdef")
    record(make_config("cell=gru"), {10: (0.5, 0.5)}, user="ben", git_commit="4265967abcdef")
    code, out, err = call(table_command.main, "cell=lstm", "--user", "carl", "--tag", "room=1", "--csv", "t.csv")
    assert (code, out) == (2, "")
    assert err == (
        "seqadd: --user carl --tag room=1: no finished run of lstm matches; without the filter: 3 runs, user anna (2), "
        "ben (1); commit 4265967abcde (3); tag room none (3)\n"
    )
    assert not Path("t.csv").exists()
    _, out, _ = call(table_command.main, "cell=lstm,gru,simple_rnn", "--user", "anna")
    said = "no finished run matches; "
    assert f"\ngru: {said}without the filter: 1 runs, user ben (1); commit 4265967abcde (1)\n" in out
    assert f"\nsimple_rnn: {said}there is no other run; python -m seqadd.run trains one\n" in out
    assert "to train what is missing" not in out


def test_experiments_are_set_side_by_side(call):
    record(make_config("tracking.experiment=ours"), {10: (0.25, 0.25)})
    record(make_config("tracking.experiment=theirs"), {10: (0.75, 0.75)})
    _, out, _ = call(
        table_command.main, "tracking.experiment=ours,theirs", "cell=lstm", "--epochs", "10", "--csv", "t.csv"
    )
    assert [line.split() for line in out.splitlines()[1:4:2]] == [
        ["epochs", "tracking.experiment", "ours", "tracking.experiment", "theirs"],
        ["10", "measured", "(0.2500,", "0.2500)", "(0.7500,", "0.7500)"],
    ]  # fmt: skip
    assert "\nexperiment: ours; theirs\n" in out


def test_runs_of_other_programs_are_left_out_and_said(call):
    config = make_config("cell=lstm")
    record(config, {10: (0.5, 0.5)})
    incomplete = [{}, {"seed": "0"}, {"seed": "zero", "epochs": "10"}, {"seed": "0", "epochs": "-1"}]
    foreign = [record(config, {10: (0.9, 0.9)}, params=params) for params in incomplete]
    record(make_config("cell=lstm", "seed=7"), {})
    code, out, _ = call(table_command.main, "cell=lstm", "--epochs", "10")
    assert code == 0
    assert "(0.5000, 0.5000)" in out
    named = "; ".join(f"lstm run {run_id}" for run_id in foreign)
    assert f"\nnot counted, without a recorded seed or number of epochs: {named}\n" in out
    assert "\nfinished, but without these metrics: lstm seed 7\n" in out


def test_lines_below_the_table_stay_short_however_many_people_there_are(call):
    for seed in range(21):
        tags = {"user": f"person {seed}", "git_commit": f"{seed:04}", "machine": "m" * 5000}
        record(make_config("cell=lstm", f"seed={seed}"), {10: (0.5, 0.5)}, **tags)
    for _ in range(10):
        record(make_config("cell=gru"), {10: (0.5, 0.5)}, params={})
    record(make_config("cell=lstm", "seed=21"), {10: (0.5, 0.5)}, user="person 9", git_commit="0009")
    _, out, _ = call(table_command.main, "cell=lstm,gru", "--epochs", "10")
    below = {line.partition(": ")[0]: line for line in out.splitlines()[8:]}
    assert max(map(len, below.values())) < 500
    assert below["user"].startswith("user: person 9; ")  # this user has two runs
    assert below["user"].endswith("; and 13 more")
    assert below["commit"].startswith("commit: 0009; ")
    assert below["seeds"] == f"seeds: lstm {', '.join(map(str, range(20)))}, and 2 more; gru none"
    assert below["not counted, without a recorded seed or number of epochs"].endswith("; and 2 more")


def test_what_others_run_too_costs_no_requests(in_empty_folder, monkeypatch):
    """A condition takes one search, and a seed one request per metric, however many runs there are."""
    asked: list[str] = []
    for name in ("search_runs", "get_metric_history"):
        method = getattr(MlflowClient, name)
        monkeypatch.setattr(
            MlflowClient,
            name,
            lambda self, *a, name=name, method=method, **k: asked.append(name) or method(self, *a, **k),
        )

    def requests() -> dict[str, int]:
        asked.clear()
        assert make_table("cell=lstm,gru")[2][2:] == ["±(0.0000, 0.0000) n=2"] * 2
        return dict(collections.Counter(asked))

    mine = [make_config(f"cell={cell}", f"seed={seed}", "epochs=50") for cell in ("lstm", "gru") for seed in (0, 1)]
    for config in mine:
        record(config, {10: (0.5, 0.5), 50: (0.6, 0.6)})
    before = requests()
    assert before == {"search_runs": 2, "get_metric_history": 8}
    for user in ("anna", "ben", "carl"):
        for config in [*mine, make_config("cell=simple_rnn")]:
            record(config, {10: (0.5, 0.5), 50: (0.6, 0.6)}, user=user)
    assert requests() == before


def test_published_numbers_stand_only_beside_their_own_condition(in_empty_folder):
    record(make_config("encoder_units=128"), {10: (0.5, 0.5)})
    assert make_table("cell=lstm", "encoder_units=128", epochs=[10])[1:] == [["10", "measured", "(0.5000, 0.5000)"]]
    # The article does not name an era: runs of either era are compared with it.
    record(make_config("era=keras3"), {10: (0.35, 0.35)})
    assert make_table("cell=lstm", "era=keras3", epochs=[10])[2] == ["", "published", "(0.3600, 0.3594)"]


def test_all_24_published_numbers_are_those_of_the_article():
    published = table.read_published(table_command.parse_arguments([]).published)
    found = {
        (cell, epochs, metric): table.published_value(published, make_config(f"cell={cell}"), epochs, metric)
        for cell in ("lstm", "gru", "simple_rnn")
        for epochs in table.ARTICLE_EPOCHS
        for metric in table.ARTICLE_METRICS
    }
    assert len(published) == len(found) == 24
    assert None not in found.values()
    assert found["lstm", 200, "val_acc"] == 0.9951
    assert found["gru", 100, "acc"] == 0.7516
    assert found["simple_rnn", 50, "val_acc"] == 0.808


def test_the_command_prints_and_writes_the_table(call, in_empty_folder):
    for seed in (0, 1):
        record(make_config(f"seed={seed}"), {10: (0.36 + seed / 100, 0.35)}, git_dirty="true")
    files = ["--markdown", "t.md", "--csv", "t.csv", "--latex", "t.tex", "--figure", "curves.png"]
    code, out, err = call(table_command.main, "reverse=true", "--epochs", "10", "batch_size=512", *files)
    assert (code, err) == (0, "")
    assert "(0.3650, 0.3500)        missing" in out
    assert "±(0.0071, 0.0000) n=2" in out
    assert "commit: abcdef012345 with changes" in out
    command = "python -m seqadd.run -m cell=gru,simple_rnn reverse=true batch_size=512 seed=0,1 epochs=10"
    assert out.endswith(f"\nto train what is missing: {command}\n")
    assert "\nfields: (acc, val_acc); all other keys have default values\n" in out
    latex = Path("t.tex").read_text()
    assert "\n10 & measured & (0.3650, 0.3500) & missing & missing \\\\\n" in latex
    assert " & spread & $\\pm$(0.0071, 0.0000) n=2 &  &  \\\\\n" in latex
    assert "% seeds: lstm 0, 1; gru none; simple_rnn none\n" in latex
    markdown = Path("t.md").read_text()
    assert "| 10 | measured | (0.3650, 0.3500) | missing | missing |" in markdown
    assert "- seeds: lstm 0, 1; gru none; simple_rnn none" in markdown
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert (rows[0]["cell"], rows[0]["metric"]) == ("lstm", "acc")
    assert float(rows[0]["mean"]) == pytest.approx(0.365)
    assert float(rows[0]["std"]) == pytest.approx(math.sqrt(2) * 0.005)
    assert float(rows[0]["difference"]) == pytest.approx(0.005)
    assert [rows[0][f"seed_{seed}"] for seed in (0, 1)] == ["0.36", "0.37"]
    assert (rows[0]["seeds"], rows[2]["seeds"], rows[2]["mean"]) == ("2", "0", "")
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in in_empty_folder.iterdir() if "mlflow" not in path.name) == [
        "curves.png",
        "t.csv",
        "t.md",
        "t.tex",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tracking.uri=sqlite:///none.db"], "tracking.uri=sqlite:///none.db: no store here"),
        (["epochs=10"], "epochs=10: epochs are the rows of the table; write --epochs 10"),
        (["batch=64"], "batch: no such key; did you mean batch_size?"),
        (["cell=gry"], "cell=gry: must be one of dense, gru, lstm, simple_rnn"),
        (["seed=x"], "seed=x: must be integers of at least 0"),
        (["--csv", "none/t.csv"], "--csv none/t.csv: there is no folder "),
        (["--markdown", "."], "--markdown .: is a folder; name a file in it"),
        (["--figure", "curves.gif"], "--figure curves.gif: must end in .png, .svg, .pdf"),
        (["--published", "none.csv"], "--published none.csv: cannot read it"),
        (["--epochs", "10,0"], "argument --epochs: 10,0: must be numbers of epochs of at least 1, or best"),
        (["--epochs", "10,worst"], "argument --epochs: 10,worst: must be numbers of epochs of at least 1, or best"),
        (["--curves", "curves.xlsx"], "--curves curves.xlsx: must end in .csv, .parquet"),
        (["--runs", "--curves", "c.csv"], "--runs --curves: --curves is for the table; leave one of them out"),
        (["--commit", "main"], "argument --commit: 'main': must be 4 to 40 hex digits, as in 4265967, or unknown"),
        (["--commit", "4265967%' OR"], "must be 4 to 40 hex digits"),
        (["--user", ""], "argument --user: '': must not be empty"),
        (["--user", "a'\" b"], "a filter cannot contain both kinds of quotes"),
        (["--tag", "era"], "argument --tag: 'era': must be KEY=VALUE, as in era=keras3"),
        (["--tag", "a` = 'b' OR tags.`c=d"], "must be KEY=VALUE"),
        (["--latex", "none/t.tex"], "--latex none/t.tex: there is no folder "),
        (["--runs", "--figure", "c.png"], "--runs --figure: --figure is for the table; leave one of them out"),
        (["--metrics", "accuracy"], "argument --metrics: accuracy: must be one of acc, val_acc"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, said, call, in_empty_folder):
    code, out, err = call(table_command.main, *arguments)
    assert code == 2
    assert out == ""
    assert said in err.splitlines()[-1]
    assert list(in_empty_folder.iterdir()) == []


def test_an_epochs_override_that_is_a_condition_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="epochs are the rows of the table; write --epochs 10,50"):
        composition.compose_selection(["cell=lstm", "epochs=10,50"])


def test_the_table_never_imports_tensorflow(in_empty_folder):
    record(make_config(), {10: (0.37, 0.36)})
    program = (
        "import sys; from seqadd import table\n"
        "sys.argv[1:] = ['--figure', 'curves.svg']\n"
        "table.main()\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.endswith("\n[]\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "fields", "drawn"),
    [
        (["task=multiplication"], "(val_exact_match, acc, val_acc)", "val_exact_match"),
        (["task=multiplication", "--metrics", "loss,acc"], "(loss, acc)", "acc"),
        (["task=multiplication,three_digits"], "(acc, val_acc)", "val_acc"),
    ],
)
def test_the_metric_of_a_task_stands_first_and_is_drawn(words, fields, drawn, call, monkeypatch):
    record(make_config("task=multiplication"), {10: (0.36, 0.35)})
    figures = []

    def draw(curves, columns, summary, metric):
        figures.append(metric)
        return Figure()

    monkeypatch.setattr("seqadd.reporting.curves.learning_curves", draw)
    code, out, _ = call(table_command.main, "cell=lstm", "--epochs", "10", "--figure", "c.svg", *words)
    assert code == 0
    assert f"\nfields: {fields}; " in out
    assert figures == [drawn]


def test_a_run_of_30_epochs_has_a_row_for_its_last(call):
    record(make_config("cell=lstm", "epochs=30"), {10: (0.25, 0.25), 30: (0.5, 0.5)})
    record(make_config("cell=gru", "epochs=5"), {5: (0.125, 0.125)})
    _, out, _ = call(table_command.main, "cell=lstm,gru", "--csv", "t.csv")
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert [row["epochs"] for row in rows[::2]] == ["5", "10", "30"] * 2
    assert out.endswith("\nto train what is missing: python -m seqadd.run -m cell=gru seed=0 epochs=30\n")


def test_below_the_table_stand_only_keys_that_are_not_default(call):
    options = ("batch_size=64", "reverse=true", "task=two_digits", "cell=gru")
    for seed in (0, 1):
        record(make_config(*options, f"seed={seed}"), {10: (0.5, 0.5)})
    _, out, _ = call(table_command.main, *options, "--epochs", "10")
    assert "fields: (acc, val_acc); in every column cell=gru task=two_digits batch_size=64; all other keys have" in out
    assert "published" not in out


def test_a_table_of_many_columns_is_not_wider_than_100_characters(in_empty_folder):
    for seed in (0, 1):
        for cell in ("lstm", "gru"):
            record(make_config(f"cell={cell}", f"seed={seed}"), {10: (0.5, 0.5)})
    lines = make_table("cell=lstm,gru,simple_rnn", "batch_size=512,1024", "reverse=true,false", epochs=[10])
    for width in (100, 60):
        console = Console(width=1000, file=io.StringIO())
        console.print(table.to_terminal(lines, width))
        printed = console.file.getvalue()
        assert max(len(line.rstrip()) for line in printed.splitlines()) <= width
        assert printed.count("simple_rnn") == 4
        assert printed.count("±(0.0000, 0.0000) n=2") == 2
    many = make_table("cell=lstm", epochs=[10], metrics=["acc", "val_acc", "loss", "val_loss"])
    assert [line[1] for line in many[1:4]] == ["acc measured", "acc spread", "acc published"]


@pytest.mark.parametrize(
    ("seeds", "lstm", "gru", "command"),
    [
        ([], {}, {}, "cell=lstm,gru era=keras3 epochs=20"),
        ([], {0: 20, 1: 20}, {}, "cell=gru era=keras3 seed=0,1 epochs=20"),
        ([], {0: 20, 1: 20}, {2: 10}, "cell=gru era=keras3 seed=2 epochs=20"),
        (["seed=0,1"], {0: 20}, {}, "cell=lstm,gru era=keras3 seed=0,1 epochs=20"),  # the sweep skips lstm's seed 0
        (
            ["seed=0,1"],
            {0: 30},  # the sweep would train it again
            {},
            """era=keras3 'hydra.sweeper.sweeps=[{cell:"lstm",seed:"1"},{cell:"gru",seed:"0,1"}]' epochs=20""",
        ),
        (["seed=0,1"], {0: 20, 1: 20}, {0: 20, 1: 30}, None),
    ],
)
def test_one_command_trains_what_is_missing(seeds, lstm, gru, command):
    selection = composition.compose_selection(["cell=lstm,gru", "era=keras3", *seeds])
    found = [runs_with(lstm), runs_with(gru)]
    printed = missing.training_command(found, selection, 20)
    assert printed == (None if command is None else f"python -m seqadd.run -m {command}")
    if command is not None:
        wanted = {
            f"{cell} {seed}"
            for cell, recorded in (("cell=lstm", lstm), ("cell=gru", gru))
            for seed in ((0, 1) if seeds else sorted(recorded) or sorted({**lstm, **gru}) or [""])
            if recorded.get(seed, 0) < 20 and (seeds or max(recorded.values(), default=0) < 20)
        }
        finished = {f"cell=lstm {seed}" for seed, epochs in lstm.items() if epochs == 20}
        assert wanted <= jobs_of(command) <= wanted | finished


def test_jobs_that_differ_in_one_key_are_one_sweep():
    selection = composition.compose_selection(["cell=lstm,gru", "batch_size=64,512", "reverse=true,false", "seed=0"])
    found = [runs_with({0: 30} if index == 0 else {}) for index in range(8)]
    sweeps = (
        '{cell:"lstm",batch_size:"64",reverse:"false"}',
        '{cell:"lstm",batch_size:"512",reverse:"true,false"}',
        '{cell:"gru",batch_size:"64,512",reverse:"true,false"}',
    )
    assert missing.training_command(found, selection, 20) == (
        f"python -m seqadd.run -m seed=0 'hydra.sweeper.sweeps=[{','.join(sweeps)}]' epochs=20"
    )


def runs_with(epochs_of: dict[int, int]) -> ConditionRuns:
    """Finished runs of a column: the epochs of each seed."""
    runs = [
        RunRecord("id", "FINISHED", {"seed": str(seed), "epochs": str(epochs)}, {})
        for seed, epochs in epochs_of.items()
    ]
    return ConditionRuns(None, RunsByStatus(runs, [], [], []))


def jobs_of(command: str) -> set[str]:
    """Returns the cell and seed of each job that a multirun trains."""
    words = shlex.split(command)
    hydras = [word for word in words if word.startswith("hydra.")]
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        sweeps = composition.Composer().hydra_settings(hydras).sweeper.sweeps
        loader = GlobalHydra.instance().config_loader()
        jobs = composition.combinations(loader, {}, sweeps, [word for word in words if word not in hydras])
    keys = [dict(override.split("=") for override in job) for job in jobs]
    assert all((job["era"], job["epochs"]) == ("keras3", "20") for job in keys)
    return {f"cell={job['cell']} {job.get('seed', '')}" for job in keys}


def test_a_rounded_number_finds_the_run_whose_number_rounds_to_it(call):
    record(make_config("learning_rate=0.018123456"), {10: (0.25, 0.25)})
    record(make_config("learning_rate=0.00521"), {10: (0.5, 0.5)})
    record(make_config("learning_rate=0.01812", "batch_size=64"), {10: (0.75, 0.75)})
    _, out, _ = call(table_command.main, "cell=lstm", "learning_rate=0.0181,0.00521,0.3", "--epochs", "10")
    assert [line.split() for line in out.splitlines()[1:4:2]] == [
        ["epochs", "learning_rate", "0.018123456", "learning_rate", "0.00521", "learning_rate", "0.3"],
        ["10", "measured", "(0.2500,", "0.2500)", "(0.5000,", "0.5000)", "missing"],
    ]
    assert "\nlearning_rate=0.0181: no run has this value; shown is 0.018123456, which rounds to it\n" in out
    assert "0.00521: no run" not in out
    record(make_config("learning_rate=0.0180777"), {10: (0.5, 0.5)})
    code, out, err = call(table_command.main, "cell=lstm", "learning_rate=0.0181")
    assert (code, out) == (2, "")
    assert err == (
        "seqadd: learning_rate=0.0181: no run has this value, and 2 round to it; write one of learning_rate=0.0180777; "
        "learning_rate=0.018123456\n"
    )


def test_the_list_of_runs_is_sorted_by_accuracy(call, in_empty_folder):
    record(make_config("epochs=30"), {10: (0.9, 0.9), 30: (0.5, 0.25)})
    best = record(make_config("cell=gru", "task=two_digits", "seed=1"), {50: (0.5, 0.75)}, pruned="50")
    record(make_config("architecture=attention", "encoder_units=128"), {})
    code, out, _ = call(table_command.main, "--runs", "--csv", "runs.csv")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:6] if "─" not in line] == [
        ["name", "differs", "from", "the", "defaults", "last", "epoch", "val_acc", "status"],
        ["any", "name", "cell=gru", "task=two_digits", "seed=1", "50", "of", "200", "0.7500", "pruned"],
        ["any", "name", "30", "0.2500", "finished"],
        ["any", "name", "architecture=attention", "encoder_units=128", "0", "of", "200", "finished"],
    ]
    assert out.endswith(f"python -m seqadd.inspect run={best}\n")
    rows = list(csv.DictReader(Path("runs.csv").read_text().splitlines()))
    assert (rows[0]["run_id"], rows[0]["differs"], rows[0]["val_acc"]) == (
        best,
        "cell=gru task=two_digits seed=1",
        "0.75",
    )
    assert (rows[1]["differs"], rows[2]["val_acc"]) == ("", "")
    _, out, _ = call(table_command.main, "--runs", "task=two_digits,nine_digits", "seed=1,2")
    assert out.count("any name") == 1
    _, out, _ = call(table_command.main, "--runs", "epochs=31")
    assert out == "no run matches; python -m seqadd.run trains one\n"
    code, _, err = call(table_command.main, "--runs", "force=true")
    assert (code, err) == (2, "seqadd: force=true: runs do not record force; leave it out\n")


def test_a_table_without_rows_can_be_written_in_latex():
    text = table.to_latex([["name", "val_acc"]], ["no run"])
    assert text.startswith("% no run\n")
    assert "name & val_acc" in text


def test_the_best_epoch_of_each_run_is_a_row_beside_the_numbers(call):
    record(make_config("cell=lstm", "seed=0", "epochs=12"), {10: (0.3, 0.5), 11: (0.4, 0.7), 12: (0.5, 0.7)})
    record(make_config("cell=lstm", "seed=1", "epochs=12"), {10: (0.3, 0.5), 11: (0.4, 0.4), 12: (0.6, 0.9)})
    arguments = ["cell=lstm", "--epochs", "10,best", "--metrics", "acc"]
    code, out, _ = call(table_command.main, *arguments, "--csv", "t.csv")
    assert code == 0
    rows = [" ".join(line.split()) for line in out.splitlines()]
    at = rows.index("best measured (0.5000)")  # of epochs 11 and 12: of equal ones the first
    assert rows[at + 1 : at + 3] == ["spread ±(0.1414) n=2", "epoch 11, 12"]
    assert "\nbest: of each run the epoch with the highest val_acc, so this val_acc is higher than on new sums\n" in out
    ten, best = csv.DictReader(Path("t.csv").read_text().splitlines())
    assert (ten["epochs"], ten["best_epoch"], best["epochs"], best["best_epoch"]) == ("10", "", "best", "11, 12")
    assert (best["mean"], best["seed_0"], best["seed_1"]) == ("0.5", "0.4", "0.6")


@pytest.mark.parametrize("name", ["curves.csv", "curves.parquet"])
def test_every_epoch_of_every_run_as_a_file(name, call):
    curve = {1: (0.1, 0.15), 2: (0.2, 0.25)}
    for cell, seed in (("lstm", 0), ("lstm", 1), ("gru", 0)):
        record(make_config(f"cell={cell}", f"seed={seed}", "epochs=2"), curve)
    code, _, err = call(table_command.main, "cell=lstm,gru", "--epochs", "best,2", "--curves", name)
    assert (code, err) == (0, "")
    rows = pd.read_csv(name) if name.endswith("csv") else pd.read_parquet(name)
    assert rows.columns.tolist() == ["cell", "seed", "epoch", "acc", "val_acc", "run_id"]
    assert rows.drop(columns="run_id").values.tolist() == [
        [cell, seed, epoch, *curve[epoch]] for cell, seed in (("lstm", 0), ("lstm", 1), ("gru", 0)) for epoch in (1, 2)
    ]
    assert rows["run_id"].nunique() == 3


def test_parameters_and_the_median_of_epoch_seconds_are_columns_on_demand(in_empty_folder):
    curve = [{"epoch": n, "loss": 1.0, "acc": 0.5, "epoch_seconds": s} for n, s in enumerate([9.0, 1.0, 2.0], 1)]
    record(make_config("cell=lstm", "epochs=3"), {}, rows=curve, parameters="79984")
    record(make_config("cell=gru", "epochs=3"), {}, rows=curve)  # by a version that recorded no such number
    metrics = ["acc", "parameters", "median_epoch_seconds"]
    lines = make_table("cell=lstm,gru", epochs=[2, 3], metrics=metrics)
    assert [line[2:] for line in lines[1:]] == [
        ["(0.5000, 79984, 5.0000)", "(0.5000, missing, 5.0000)"],
        ["(0.5000, 79984, 2.0000)", "(0.5000, missing, 2.0000)"],
    ]
    assert table_command.parse_arguments(["--metrics", ",".join(metrics)]).metrics == tuple(metrics)
