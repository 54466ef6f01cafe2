"""A sweep whose processes are all killed at random moments, again and again, until it is done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import COMMAND, client_of, runs_of

pytestmark = pytest.mark.long

SWEEP = ["-m", "cell=simple_rnn,gru", "seed=0,1,2", "epochs=60"]
KILLS_AT_MOST = 50


def run_sweep(folder: Path, kill_after: float | None) -> tuple[float, int]:
    """Seconds, and the exit code, of one command whose process group is killed after a while."""
    began = time.monotonic()
    with open(folder / "log.txt", "a") as log:
        process = subprocess.Popen([*COMMAND, *SWEEP], cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            process.wait(timeout=kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return time.monotonic() - began, process.returncode


def weights_of(folder: Path) -> dict[str, str]:
    """The digest of the weights of every finished run."""
    return {
        run.data.tags["config_hash"]: run.data.tags["weights_sha256"]
        for run in runs_of(folder)
        if run.info.status == "FINISHED" and "cell" in run.data.params
    }


def all_epochs_of(folder: Path) -> dict[str, list[int]]:
    """The epochs that the store has of every run, in the order in which it got them."""
    if not (folder / "mlflow.db").exists():
        return {}
    client = client_of(folder)
    return {
        run.info.run_id: [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
        for run in runs_of(folder)
        if "cell" in run.data.params
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, dict[str, str]]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    seconds, code = run_sweep(folder, kill_after=None)
    assert code == 0, (folder / "log.txt").read_text()
    print(f"uninterrupted: {seconds:.0f} s")
    return seconds, weights_of(folder)


@pytest.mark.parametrize("seed", range(10))
def test_a_sweep_killed_at_random_moments_ends_as_if_nothing_had_happened(seed, uninterrupted, tmp_path):
    whole_seconds, whole_weights = uninterrupted
    moments = random.Random(seed)
    seconds, kills, code = 0.0, 0, -1
    before: dict[str, list[int]] = {}
    while code != 0:
        # At any moment that an uninterrupted sweep has; the first time always before its end.
        took, code = run_sweep(tmp_path, kill_after=moments.uniform(0, whole_seconds if kills else 0.9 * whole_seconds))
        seconds += took
        kills += code != 0
        assert code in (0, -signal.SIGKILL), (tmp_path / "log.txt").read_text()
        assert kills < KILLS_AT_MOST
        now = all_epochs_of(tmp_path)
        for run_id, epochs in now.items():
            assert epochs == list(range(1, len(epochs) + 1))  # each once, in order
            assert len(epochs) >= len(before.get(run_id, []))
        assert before.keys() <= now.keys()
        before = now
    print(f"seed {seed}: {kills} kills, {seconds:.0f} s, {seconds / whole_seconds:.2f} of the uninterrupted sweep")
    runs = runs_of(tmp_path)
    assert not any(run.info.status == "RUNNING" for run in runs)
    finished = Counter(
        run.data.tags["config_hash"] for run in runs if run.info.status == "FINISHED" and "cell" in run.data.params
    )
    assert sorted(finished.values()) == [1] * 6
    (sweep,) = [run for run in runs if "jobs" in run.data.params and run.info.status == "FINISHED"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == sweep.info.run_id]
    assert {run.data.tags["config_hash"] for run in children} == finished.keys()
    assert weights_of(tmp_path) == whole_weights
    assert not (tmp_path / "unfinished").exists()
    assert seconds <= (1 + kills / 2) * whole_seconds  # twice for two kills: none costs more than half the sweep
