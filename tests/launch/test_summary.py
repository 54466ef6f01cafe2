"""What stands at the end of a run and of a sweep."""

from types import SimpleNamespace

import pytest

from seqadd.config.schema import Tracking
from seqadd.launch import summary, sweep_page

HERE = Tracking("sqlite:///mlflow.db", "seqadd", None, None, False, False, None, None)
METRICS = {"loss": 9.1e31, "acc": 0.5, "val_acc": 0.4375, "val_exact_match": 0.0}


@pytest.fixture(autouse=True)
def no_store_in_the_environment(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def config(number: int, tracking: Tracking = HERE, epochs: int = 50) -> SimpleNamespace:
    return SimpleNamespace(
        config_hash=lambda: f"{number:x}",
        tracking=tracking,
        epochs=epochs,
        cell="gru",
        task=SimpleNamespace(name=None),
        noun="sums",
    )


def a_job(label: str, number: int, state: str = sweep_page.FINISHED, **metrics: float) -> sweep_page.JobRow:
    return sweep_page.JobRow(label, state, f"{number:032x}", metrics=METRICS | metrics)


def test_a_run_names_its_accuracy_its_place_and_the_commands_that_show_more(capsys):
    summary.print_run(config(1), "12ab", METRICS, ["this run: http://127.0.0.1:5000/#/experiments/1/runs/12ab"])
    assert capsys.readouterr().out.splitlines() == [
        "held-out sums: val_acc 0.4375, val_exact_match 0.0000",
        "run 12ab, experiment seqadd",
        "this run: http://127.0.0.1:5000/#/experiments/1/runs/12ab",
        "look inside: python -m seqadd.inspect run=12ab",
        "ask it:      python -m seqadd.answer run=12ab 12+7",
    ]


def test_commands_name_a_store_that_is_not_the_default_one_without_its_password(capsys, monkeypatch):
    there = Tracking("http://ann:secret@host", "my runs", None, None, False, False, None, None)
    summary.print_run(config(1, there), "12ab", {}, [])
    out = capsys.readouterr().out
    words = "run=12ab 'tracking.uri=http://***@host' 'tracking.experiment=my runs'"
    assert f"python -m seqadd.inspect {words}\n" in out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", there.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", there.experiment)
    summary.print_run(config(1, there), "12ab", {}, [])
    assert "python -m seqadd.inspect run=12ab\n" in capsys.readouterr().out


def test_a_sweep_ends_with_a_table_of_its_jobs_and_names_the_best(capsys):
    jobs = [
        a_job("cell=lstm seed=0", 0, sweep_page.SKIPPED),
        a_job("cell=lstm seed=1", 1, val_acc=0.9),
        a_job("cell=gru seed=0", 2, sweep_page.FAILED, val_acc=0.95),
        sweep_page.JobRow("cell=gru seed=1", sweep_page.UNKNOWN),
    ]
    overrides = ["cell=lstm,gru", "seed=range(2)", "epochs=50", "hydra.launcher.jobs=2"]
    summary.print_sweep(jobs, [config(n) for n in range(4)], "5c", overrides)
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "job loss acc val_acc exact match",
        "cell=lstm seed=0 9e+31 0.5000 0.4375 0.0000",
        "cell=lstm seed=1 9e+31 0.5000 0.9000 0.0000",
        "cell=gru seed=0 failed",
        "cell=gru seed=1 no run",
        "sweep 5c, experiment seqadd",
        "as a table: python -m seqadd.table cell=lstm,gru 'seed=range(2)' --epochs 50",
        f"the best: python -m seqadd.inspect run={1:032x}",
    ]


def test_of_very_many_jobs_the_best_are_shown(capsys, monkeypatch):
    monkeypatch.setattr(summary, "MOST_ROWS", 2)
    jobs = [a_job(label, n, val_acc=n / 10) for label, n in (("a", 3), ("b", 1), ("c", 2))]
    summary.print_sweep(jobs, [config(n) for n in range(3)], None, [])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["job", "a", "c"]
    assert lines[3] == "and 1 other job"


@pytest.mark.parametrize(
    ("overrides", "table"),
    [
        (["batch_size=64,128"], ["as a table: python -m seqadd.table cell=gru batch_size=64,128 --epochs 50"]),
        (["hydra.sweeper.sweeps=[{seed: 1}]"], []),  # of which the table's command would know nothing
    ],
)
def test_the_table_of_a_sweep_has_its_cells_alone(overrides, table, capsys):
    summary.print_sweep([a_job("a", 1)], [config(1)], None, overrides)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "seqadd.table" in line] == table
