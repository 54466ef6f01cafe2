"""Commands in strange hands, to the end of their work: closed streams, scripts, threads, notebooks' environments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL, quick_database, runs_of

pytestmark = pytest.mark.long

FAST = [*SMALL, "cell=simple_rnn", "jit=false"]


def in_shell(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What becomes of a line of a shell in which ``seqadd.`` stands for a command and FAST for a run of seconds."""
    quick_database(folder)
    line = line.replace("seqadd.", f"{sys.executable} -m seqadd.").replace("FAST", " ".join(FAST))
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )


FULL = "seqadd: not all of it could be printed: No space left on device\n"


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        (">&-", ""),
        ("2>&-", None),
        ("<&- >&- 2>&-", ""),
        ("<&-", None),
        (">/dev/full", FULL),
        (">/dev/full 2>/dev/full", ""),
        ("| true", ""),
        ("1</dev/null", "seqadd: not all of it could be printed: Bad file descriptor\n"),
    ],
)
@pytest.mark.parametrize("sweep", ["", "-m seed=0,1"])
def test_what_is_trained_is_recorded_whatever_became_of_the_streams(sweep, streams, said, tmp_path):
    done = in_shell(tmp_path, f"set -o pipefail; seqadd.run {sweep} FAST epochs=2 {streams}")
    assert done.returncode == 0, done.stderr
    if said is not None:
        assert (done.stdout, done.stderr) == ("", said)
    assert [each.info.status for each in runs_of(tmp_path)] == ["FINISHED"] * (3 if sweep else 1)


def test_every_command_that_looks_at_a_run_bears_closed_and_broken_streams(tmp_path):
    assert in_shell(tmp_path, "seqadd.run FAST epochs=2").returncode == 0
    for command in (
        "table cell=simple_rnn",
        "answer run=latest 1+2",
        "inspect run=latest",
        "reproduce --dry-run dense",
    ):
        product_is_printed = command.startswith(("table", "answer"))
        for streams, code in ((">&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full", 1 if product_is_printed else 0)):
            done = in_shell(tmp_path, f"seqadd.{command} {streams}")
            assert (done.returncode, done.stdout) == (code, ""), (command, streams, done.stderr)
            assert done.stderr == (FULL if streams == ">/dev/full" else ""), (command, streams)
    for streams in ("<&-", "</dev/null"):
        done = in_shell(tmp_path, f"seqadd.answer run=latest {streams}")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith("seqadd: no sum is given; ")
        assert done.stderr.count("\n") == 1


SCRIPT = """
import sys
from seqadd import run
print("the script runs")
sys.argv[1:] = WORDS
run.main()
print("the script is over")
"""


@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]])
def test_a_script_that_calls_main_needs_no_guard(words, tmp_path):
    quick_database(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT.replace("WORDS", repr([*words, *FAST, "epochs=1"])))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("the script runs") == done.stdout.count("the script is over") == 1
    assert {each.info.status for each in runs_of(tmp_path)} == {"FINISHED"}


def test_runs_and_sweeps_outside_the_main_thread_are_recorded(tmp_path):
    quick_database(tmp_path)
    program = f"""
import sys, threading
from seqadd import run
for words in [], ["-m", "seed=1,2"]:
    sys.argv[1:] = [*words, *{FAST}, "epochs=1"]
    thread = threading.Thread(target=run.main)
    thread.start()
    thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert (done.returncode, done.stderr) == (0, "")
    assert [each.info.status for each in runs_of(tmp_path)] == ["FINISHED"] * 4


@pytest.mark.parametrize(
    "handed_down",
    [
        "MPLBACKEND=module://matplotlib_inline.backend_inline",
        "MPLBACKEND=nonsense",
        "PYTHONWARNINGS=default",
        "PYTHONOPTIMIZE=2",
        "OMP_NUM_THREADS=abc OPENBLAS_NUM_THREADS=x",
        "MLFLOW_RUN_ID=abc MLFLOW_EXPERIMENT_ID=77 MLFLOW_ENABLE_ASYNC_LOGGING=true",
        "COLUMNS=abc LINES=0 TERM=nonsense FORCE_COLOR=1 JUPYTER_COLUMNS=x",
        "HYDRA_MAIN_MODULE=somebody.else",
        "TMPDIR=/nonexistent",
    ],
)
def test_what_a_callers_environment_hands_down_ends_no_run(handed_down, tmp_path):
    environment = dict(each.split("=", 1) for each in handed_down.split())
    done = in_shell(tmp_path, "trap '' CHLD; umask 077; exec seqadd.run -m FAST epochs=1", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert [each.info.status for each in runs_of(tmp_path)] == ["FINISHED"] * 2
