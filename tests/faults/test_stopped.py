"""Ctrl-C, SIGTERM and closed terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import fork_server
import pytest
from conftest import (
    COMMAND,
    SMALL,
    WITHOUT_XLA,
    becomes_true,
    epochs_of,
    group_is_alive,
    output_of,
    quick_database,
    runs_of,
    start,
    wait_for_lines,
)

FAST = [*SMALL, "cell=simple_rnn"]
SWEEP = ["-m", "seed=0,1", "hydra.launcher.jobs=2"]
#: An epoch of this one takes about ten seconds, in which Python does not get a word in.
SLOW = ["encoder_units=384", "decoder_units=128"]


@pytest.mark.parametrize(
    ("number", "code", "sweep"),
    [
        pytest.param(signal.SIGINT, 130, [], marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, 143, [], marks=pytest.mark.long),
        pytest.param(signal.SIGINT, 130, SWEEP, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, 143, SWEEP, marks=pytest.mark.long),
    ],
)
def test_in_the_middle_of_a_long_epoch_everything_ends_within_five_seconds(number, code, sweep, tmp_path):
    process = start(tmp_path, *sweep, *SLOW)
    wait_for_lines(process, "epoch ", n=1)
    time.sleep(0.5)
    os.killpg(process.pid, number)
    began = time.monotonic()
    process.wait(timeout=30)
    assert process.returncode == code, process.communicate()[1]
    assert time.monotonic() - began < 5
    assert becomes_true(lambda: {each.info.status for each in runs_of(tmp_path)} == {"KILLED"}, seconds=15)
    while group_is_alive(process.pid):
        assert time.monotonic() - began < 8  # a zombie counts until the system has buried it
        time.sleep(0.05)
    assert process.communicate()[1] == f"seqadd: stopped by {number.name}\n"


#: A main thread that hears nothing for more than two seconds, and then tidies up while its last words are being said.
DEAF = """
import time
from seqadd.cli.entry import command
from seqadd.system.signals import defer_signals
from seqadd.system.signals import on_forced_exit

def say():
    print("last words", flush=True)
    time.sleep(0.45)

with command(), on_forced_exit(say):
    try:
        with defer_signals():
            print("deaf", flush=True)
            end = time.monotonic() + {seconds}
            while time.monotonic() < end:
                time.sleep(0.01)
    finally:
        print("tidied up", flush=True)
"""


@pytest.mark.parametrize(("seconds", "said"), [(1.0, "tidied up"), (2.4, "last words")])
def test_either_the_main_thread_tidies_up_or_the_last_words_are_said(seconds, said, tmp_path):
    process = fork_server.start(
        [sys.executable, "-c", DEAF.format(seconds=seconds)], cwd=tmp_path, start_new_session=True
    )
    wait_for_lines(process, "deaf", n=1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, f"{said}\n", "seqadd: stopped by SIGINT\n")


def test_a_few_lines_that_must_not_be_cut_in_two_may_take_longer(tmp_path):
    script = DEAF.format(seconds=5).replace("defer_signals()", "defer_signals(however_long=True)")
    process = fork_server.start([sys.executable, "-c", script], cwd=tmp_path, start_new_session=True)
    wait_for_lines(process, "deaf", n=1)
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "tidied up\n", "seqadd: stopped by SIGTERM\n")


def test_a_process_ends_also_when_nothing_can_be_said(tmp_path):
    script = DEAF.format(seconds=60).replace("import command", "import signals_as_exceptions")
    script = script.replace("with command()", "with signals_as_exceptions(notify=lambda text: 1 / 0)")
    process = fork_server.start([sys.executable, "-c", script], cwd=tmp_path, start_new_session=True)
    wait_for_lines(process, "deaf", n=1)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143


#: A library's C++ code swallows the exception that a signal raises inside it, and raises another one later.
SWALLOWS = """
import time
from seqadd.cli.entry import command
from seqadd.config.schema import Tracking
from seqadd.errors import Interrupted
from seqadd.tracking import connection, recording

store = connection.open_store(Tracking("sqlite:///mlflow.db", "seqadd", None, None, None, None))
run_dir = store.run_directory("one")
with command(), run_dir.lock(print), recording.record(store, run_dir, "one", params={}, tags={}):
    try:
        print("computes", flush=True)
        time.sleep(60)
    except Interrupted:
        pass
    [].type_spec
"""


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGTERM, (143, "seqadd: stopped by SIGTERM\n", "KILLED", False)),
        (None, (1, "seqadd: AttributeError: 'list' object has no attribute 'type_spec'; HYDRA_FULL_ERROR=1 shows the"
                   " traceback\n", "FAILED", True)),
    ],
)  # fmt: skip
def test_an_interruption_that_surfaces_as_another_error_is_one_all_the_same(number, expected, tmp_path):
    quick_database(tmp_path)
    program = SWALLOWS if number is not None else SWALLOWS.replace("time.sleep(60)", "")
    process = fork_server.start([sys.executable, "-c", program], cwd=tmp_path, start_new_session=True)
    wait_for_lines(process, "computes")
    if number is not None:
        os.killpg(process.pid, number)
    _, err = process.communicate(timeout=30)
    (run,) = runs_of(tmp_path)
    explained = bool(list(tmp_path.glob("mlruns/**/traceback.txt")))
    assert (process.returncode, err, run.info.status, explained) == expected


#: To free its memory takes Python long, as that of TensorFlow does.
SLOW_END = """
import atexit, sys, time, types
from seqadd.cli.entry import as_program, command

class Large:
    def __del__(self, sleep=time.sleep):
        sleep(60)

large = Large()

def main():
    with command():
        print("is done")
        if "fails" in sys.argv:
            raise ValueError("no")

atexit.register(print, "exit handlers run")
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
as_program(main)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [([], 0, ""), (["fails"], 1, "seqadd: ValueError: no; HYDRA_FULL_ERROR=1 shows the traceback\n")],
)
def test_a_program_ends_when_its_command_has_ended(arguments, code, error, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SLOW_END, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "is done\nexit handlers run\n", error)


@pytest.mark.long
def test_a_closed_terminal_stops_a_run_and_nohup_lets_it_go_on(tmp_path):
    process = start(tmp_path, *FAST, "epochs=1000000")
    wait_for_lines(process, "epoch ")
    os.killpg(process.pid, signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 129
    assert [each.info.status for each in runs_of(tmp_path)] == ["KILLED"]

    process = subprocess.Popen(
        ["nohup", *COMMAND, *FAST, "epochs=1000"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for_lines(process, "epoch ")
    os.killpg(process.pid, signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_run_that_was_interrupted_by_ctrl_c_has_lost_no_epoch(tmp_path):
    process = start(tmp_path, *WITHOUT_XLA, "epochs=400")
    wait_for_lines(process, "epoch ", n=3)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    (killed,) = runs_of(tmp_path)
    known = len(epochs_of(tmp_path, killed.info.run_id))
    out = output_of(tmp_path, *WITHOUT_XLA, "epochs=400")
    assert f"resuming after epoch {known}, where it was interrupted" in out
