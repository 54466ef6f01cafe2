"""Own parts with an installed package, in an empty folder: no clone, no editable install."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import CLONE, SMALL, becomes_true, runs_of, wait_for_lines

#: Some ten seconds: long enough for two checkpoints, which are five seconds apart.
EPOCHS = 2000
MODEL = [*SMALL, "jit=false"]


@pytest.mark.long
def test_a_killed_sweep_of_an_own_cell_ends_as_if_undisturbed_and_is_judged_without_a_clone(
    installed_wheel: Path, tmp_path: Path
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    shutil.copy(CLONE / "examples" / "mgu.py", tmp_path)

    def said_by(module: str, *words: str) -> str:
        command = [str(installed_wheel), "-m", module, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), (command, done.stdout)
        return done.stdout

    sweep = ["--code", "mgu.py", "-m", "cell=mgu,gru", "seed=range(3)", *MODEL, f"epochs={EPOCHS}",
             "hydra.launcher.jobs=2"]  # fmt: skip
    process = subprocess.Popen(
        [str(installed_wheel), "-m", "seqadd.run", *sweep], cwd=tmp_path, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_lines(process, "  run ")  # a job has ended

    def is_between_checkpoints() -> bool:
        return any((tmp_path / "unfinished").glob("*/checkpoint.before"))

    assert becomes_true(is_between_checkpoints, 300)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {run.info.run_id: run.info.status for run in runs_of(tmp_path)}
    assert "RUNNING" in before.values()  # nobody was left to say otherwise

    again = said_by("seqadd.run", *sweep)
    finished = [run_id for run_id, status in before.items() if status == "FINISHED"]
    assert 1 <= len(finished) <= again.count("finished already: run ")
    resumed = re.findall(r"cell=(\w+) seed=(\d) +resuming after epoch [1-9]", again)
    assert resumed
    runs = runs_of(tmp_path)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 7  # six jobs and their sweep
    assert set(before) <= {run.info.run_id for run in runs}
    trained = {(run.data.params["cell"], run.data.params["seed"]): run for run in runs if "cell" in run.data.params}

    # To the bit what a run gives that nobody has killed, and as another process computes it from the file.
    cell, seed = resumed[0]
    said_by("seqadd.run", "--code", "mgu.py", f"cell={cell}", f"seed={seed}", *MODEL, f"epochs={EPOCHS}", "force=true")
    both = [
        run for run in runs_of(tmp_path) if (run.data.params.get("cell"), run.data.params.get("seed")) == resumed[0]
    ]
    assert len(both) == 2
    assert len({run.data.tags["weights_sha256"] for run in both}) == 1

    words = ["cell=mgu,gru", *MODEL, f"--epochs={EPOCHS}", "--metrics=val_acc", "--against", "cell=gru", "--csv=t.csv"]
    table = said_by("seqadd.table", "--code", "mgu.py", *words)
    number = r"[+-]\d\.\d{4}"
    assert re.search(rf"{EPOCHS} +val_acc +mgu - gru +{number} +{number} to {number} +3 +undecided", table)
    with (tmp_path / "t.csv").open() as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    means = {name: sum(trained[name, seed].data.metrics["val_acc"] for seed in "012") / 3 for name in ("mgu", "gru")}
    assert {name: float(row["mean"]) for name, row in rows.items()} == pytest.approx(means)
    assert float(rows["mgu"]["against_mean"]) == pytest.approx(means["mgu"] - means["gru"])

    of_mgu = ["--code", "mgu.py", "cell=mgu", "seed=1", *MODEL]
    said_by("seqadd.inspect", *of_mgu)
    (saturation,) = (tmp_path / "inspect").glob("*/saturation.csv")
    assert "forget_gate" in saturation.read_text()
    answers = said_by("seqadd.answer", *of_mgu, "3+4", "5+1")
    assert [line.partition(" = ")[0] for line in answers.splitlines()] == ["3+4", "5+1"]

    # The file of a run, for whoever has the store alone.
    run_id = trained["mgu", "1"].info.run_id
    download = ["mlflow", "artifacts", "download", "-r", run_id, "-a", "parts"]  # it shows its progress on stderr
    done = subprocess.run(
        [str(installed_wheel), "-m", *download], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (back,) = Path(done.stdout.split()[-1]).rglob("mgu.py")
    assert back.read_text() == (CLONE / "examples" / "mgu.py").read_text()
