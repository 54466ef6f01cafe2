"""A search as a person starts it, stopped in the middle and continued."""

import os
import signal

import pytest
from conftest import SMALL, epochs_of, output_of, runs_of, start, wait_for_lines

pytestmark = pytest.mark.integration

SEARCH = [
    "-m",
    "hydra/sweeper=optuna",
    "hydra.sweeper.trials=8",
    "hydra.sweeper.startup_trials=2",
    "hydra.launcher.jobs=2",
    *SMALL,
    "cell=simple_rnn",
    "jit=false",
    "epochs=40",
    "learning_rate=tag(log,interval(0.0001,0.1))",
    "encoder_units=range(4,17,4)",
    "batch_size=choice(11,20,44)",
]


def test_a_search_stopped_in_the_middle_and_continued_has_all_its_trials_once_under_one_parent(tmp_path):
    process = start(tmp_path, *SEARCH)
    wait_for_lines(process, " run ", n=3)  # so many have ended, in whatever way
    wait_for_lines(process, "epoch ")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "seqadd: stopped by SIGINT\n")
    over = {r.data.tags["trial"] for r in runs_of(tmp_path) if "pruned" in r.data.tags or r.info.status == "FINISHED"}
    assert 3 <= len(over) < 8

    out = output_of(tmp_path, *SEARCH)
    assert f"resuming the search after {len(over)} of 8 trials" in out
    trained_now = {line.split()[1] for line in out.splitlines() if line.startswith("trial ") and " epoch " in line}
    assert not over & trained_now
    lines = out.splitlines()
    chosen = [n for n, line in enumerate(lines) if line.startswith("trial ") and "learning_rate=" in line]
    first_end = next(n for n, line in enumerate(lines) if line.startswith("trial ") and " run " in line)
    assert all(n > first_end for n in chosen[2:])  # two at once: who is third is chosen knowing how the first ended

    runs = runs_of(tmp_path)
    (parent,) = [each for each in runs if "search" in each.data.tags]
    children = [each for each in runs if each is not parent]
    assert sorted(int(each.data.tags["trial"]) for each in children) == list(range(8))
    assert {each.data.tags["mlflow.parentRunId"] for each in children} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    for each in children:
        epochs = epochs_of(tmp_path, each.info.run_id)
        assert epochs == list(range(1, len(epochs) + 1))
        assert (each.info.status, len(epochs)) == (
            ("KILLED", int(each.data.tags["pruned"])) if "pruned" in each.data.tags else ("FINISHED", 40)
        )
    best = max((each for each in children if each.info.status == "FINISHED"), key=lambda r: r.data.metrics["val_acc"])
    assert parent.data.tags["best_run_id"] in out
    assert parent.data.metrics["search/best_val_acc"] == best.data.metrics["val_acc"]
    assert not (tmp_path / "unfinished").exists()
