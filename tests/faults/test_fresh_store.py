"""Eight commands at once in a folder where there is no store yet, twenty times."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, SMALL, client_of

from seqadd.tracking.artifacts import PATCH

pytestmark = pytest.mark.long

ARTIFACTS = {"config.yaml", "end.checkpoint", "history.json", "learning_curve.png", "model.weights.h5"}


@pytest.mark.parametrize("attempt", range(20))
def test_eight_runs_at_once_in_an_empty_folder_are_all_recorded_whole(attempt: int, tmp_path: Path):
    processes = [
        subprocess.Popen(
            [*COMMAND, *SMALL, "cell=dense", "architecture=aligned", "decoder_units=null", "epochs=3", f"seed={seed}"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for seed in range(8)
    ]  # fmt: skip
    errors = [process.communicate()[1] for process in processes]
    assert [(process.returncode, error) for process, error in zip(processes, errors, strict=True)] == [(0, "")] * 8
    client = client_of(tmp_path)
    by_name = {each.name: client.search_runs([each.experiment_id]) for each in client.search_experiments()}
    assert by_name.keys() == {"Default", "seqadd"}
    assert len(by_name["Default"]) == 0
    assert sorted(run.data.params["seed"] for run in by_name["seqadd"]) == [str(seed) for seed in range(8)]
    for run in by_name["seqadd"]:
        assert run.info.status == "FINISHED"
        assert [point.step for point in client.get_metric_history(run.info.run_id, "val_acc")] == [1, 2, 3]
        assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} - {PATCH} == ARTIFACTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock", "mlruns"]
