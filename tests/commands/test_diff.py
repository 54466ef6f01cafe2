"""Why two recorded runs have other numbers."""

import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import make_config, quick_database

from seqadd import __main__
from seqadd.comparison.run_differences import differences
from seqadd.tracking import connection, recording


@pytest.fixture(scope="module", autouse=True)
def _database(tmp_path_factory):
    """Has MLflow log the creation of its tables before a test reads what a command prints."""
    quick_database(tmp_path_factory.mktemp("store"))


def record(*overrides: str, losses: list[float], **tags: str) -> str:
    """Records a run with a loss after each epoch; returns its ID."""
    quick_database(Path.cwd())
    config = make_config(*overrides)
    store = connection.open_store(config.tracking)
    every = {"condition_hash": config.condition_hash(), "config_hash": config.config_hash(), "code": "aaaa", **tags}
    with (
        store.run_directory(uuid.uuid4().hex).lock(print) as run_dir,
        recording.record(store, run_dir, "a name", params=recording.params_of(config), tags=every) as run,
    ):
        run.log_history([{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, 1)])
    return run.run_id


def lines_of(call, *words: str) -> list[str]:
    """The lines of a command that must succeed, without those that name the runs."""
    code, out, err = call(__main__.main, "diff", *words)
    assert (code, err) == (0, "")
    first, second, *lines = out.splitlines()
    assert (first[:7], second[:7]) == ("A: run ", "B: run ")
    return lines


def test_what_differs_is_listed_and_where_the_losses_part(call):
    first = record("epochs=3", losses=[2.5, 1.5, 1.0], machine="one", mlflow_version="1")
    second = record("epochs=4", "learning_rate=0.004", losses=[2.5, 1.25, 0.5, 0.25], machine="other", git_commit="cc")
    assert lines_of(call, first, second) == [
        "epochs: 3 | 4",
        "learning_rate: 0.001 | 0.004",
        "machine: one | other",
        "git_commit: null | cc",
        "loss parts at epoch 2: 1.5 | 1.25, which is 0.25 apart",
        "after epoch 3: 1 | 0.5, which is 0.5 apart",
        "can explain it: learning_rate, machine",
    ]


def test_what_is_recorded_may_explain_nothing(call, monkeypatch):
    monkeypatch.setattr("seqadd.comparison.run_differences.equivalent_codes", lambda code: {"aaaa", "bbbb"})
    record("seed=0", losses=[2.5, 1.5], git_commit="cc")
    second = record("seed=0", "jit=false", losses=[2.5, 1.5], code="bbbb", git_commit="dd\x1b[31m", jit="true")
    first = record("seed=0", losses=[2.5, 1.25], git_commit="cc")
    assert lines_of(call, f"run={second},{first}")[1:] == [
        "git_commit: dd?[31m | cc",
        "loss parts at epoch 2: 1.5 | 1.25, which is 0.25 apart",
        "nothing that is recorded explains it",
    ]


def test_runs_may_be_chosen_by_their_configuration_and_be_the_same(call):
    for seed in (0, 1):
        record(f"seed={seed}", "epochs=2", losses=[2.5, 1.5], data_digest=f"d{seed}")
    assert lines_of(call, "cell=lstm", "seed=0,1") == [
        "seed: 0 | 1",
        "data_digest: d0 | d1",
        "loss is the same in all 2 epochs that both runs have",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cell=lstm"], "cell=lstm: 1 recorded runs; must be two, as in diff ID ID"),
        (["cell=lstm", "seed=0,1", "epoch=1"], "epoch: two runs are compared after every epoch; leave it out"),
        (["model=lstm"], "model=lstm: 0 recorded runs; must be two, as in diff ID ID"),
        (["0" * 32, "1" * 32], f"run={'0' * 32}: no such run in this store; "),
        (["cell=lsdm"], "cell=lsdm: must be one of "),
    ],
)
def test_two_runs_must_be_chosen(words, said, call):
    record("epochs=2", losses=[2.5, 1.5])
    code, out, err = call(__main__.main, "diff", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"seqadd: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("computes", "is_a_cause"), [("a", False), ("b", True), (None, True)])
def test_an_edit_after_which_a_part_computes_the_same_is_no_cause(computes, is_a_cause):
    mine = SimpleNamespace(params={"part_code": "1"}, tags={"computes": "a"})
    its = SimpleNamespace(params={"part_code": "2"}, tags={} if computes is None else {"computes": computes})
    assert [(each.name, each.decides) for each in differences(mine, its)] == [("part_code", is_a_cause)]
