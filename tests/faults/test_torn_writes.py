"""Writing interrupted at each of its steps, by the death of the process and by a disk that has no room."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqadd.errors import CannotWrite
from seqadd.system import files
from seqadd.tracking import run_directory
from seqadd.tracking.run_directory import RunDirectory, RunInfo
from seqadd.training.checkpoint import Checkpoint

FINGERPRINT = {"configuration": "ab"}
# What a file is published by, in their order; "write" is the first half of its content.
STEPS = ["write", "fsync 1", "replace 1", "replace 2", "fsync 2", "none"]


def checkpoint_of(epochs: int) -> Checkpoint:
    history = [{"epoch": float(epoch)} for epoch in range(1, epochs + 1)]
    return Checkpoint(FINGERPRINT, history, {"model/kernel": np.full(1000, epochs, np.float32)})


def place_with(folder: Path, epochs: int) -> RunDirectory:
    """A run that has written a checkpoint after each of so many epochs."""
    run_dir = RunDirectory(folder / "unfinished", "run")
    with run_dir.lock(print):
        run_dir.begin(RunInfo("mlflow.db", "seqadd", "name", "recorder"))
        for epoch in range(1, epochs + 1):
            run_dir.save(checkpoint_of(epoch))
    return run_dir


def at_step(step: str, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has ``act`` done just before a step of publishing a file; "write" is in the middle of its content."""
    calls = {"fsync": 0, "replace": 0}

    def counted(name: str) -> Callable:
        whole = getattr(os, name)

        def call(*arguments):
            calls[name] += 1
            if step == f"{name} {calls[name]}":
                act()
            return whole(*arguments)

        return call

    def write(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            if step == "write":
                act()
            file.write(content[len(content) // 2 :])

    for name in calls:
        monkeypatch.setattr(files.os, name, counted(name))
    monkeypatch.setattr(Path, "write_bytes", write)


def in_another_process(do: Callable[[], None]) -> int:
    """The status of a forked process that does something, as ``os.wait`` gives it."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            do()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_while_it_writes_a_checkpoint_leaves_the_one_before_or_the_new_one(
    step, tmp_path, monkeypatch
):
    run_dir = place_with(tmp_path, epochs=2)

    def save_and_die():
        at_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL), monkeypatch)
        own = RunDirectory(tmp_path / "unfinished", "run")
        with own.lock(print):
            own.save(checkpoint_of(3))

    status = in_another_process(save_and_die)
    assert status == (0 if step == "none" else signal.SIGKILL)
    said: list[str] = []
    with run_dir.lock(said.append):  # the lock of a killed process is free
        found = run_dir.latest_checkpoint(FINGERPRINT, said.append)
        assert said == []
        assert found is not None
        assert len(found.history) == (3 if step in ("fsync 2", "none") else 2)
        assert (found.arrays["model/kernel"] == len(found.history)).all()
        assert not list(run_dir.path.glob("unfinished.*"))  # what it left half written is gone


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_disk_without_room_is_named_and_the_checkpoints_that_are_there_stay(step, tmp_path, monkeypatch):
    run_dir = place_with(tmp_path, epochs=2)
    with run_dir.lock(print), monkeypatch.context() as patched:

        def no_room():
            raise OSError(28, "No space left on device")

        at_step(step, no_room, patched)
        with pytest.raises(CannotWrite, match=r"^cannot write .*/checkpoint: No space left on device$"):
            run_dir.save(checkpoint_of(3))
    found = run_dir.latest_checkpoint(FINGERPRINT, print)
    assert found is not None
    assert len(found.history) == (3 if step == "fsync 2" else 2)


def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    run_dir = place_with(tmp_path, epochs=3)
    latest = run_dir.path / "checkpoint"
    latest.write_bytes(latest.read_bytes()[:-100])
    said: list[str] = []
    found = run_dir.latest_checkpoint(FINGERPRINT, said.append)
    assert found is not None
    assert len(found.history) == 2
    assert said == [f"{latest} is not used: its checkpoint is damaged: the checksum does not match"]


def test_two_torn_checkpoints_are_both_named_and_none_is_used(tmp_path):
    run_dir = place_with(tmp_path, epochs=3)
    for name in ("checkpoint", "checkpoint.before"):
        content = bytearray((run_dir.path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (run_dir.path / name).write_bytes(content)
    said: list[str] = []
    assert run_dir.latest_checkpoint(FINGERPRINT, said.append) is None
    assert [line.split(" is not used")[0].rpartition("/")[2] for line in said] == ["checkpoint", "checkpoint.before"]


def test_a_foreign_checkpoint_is_named_and_not_used(tmp_path):
    run_dir = place_with(tmp_path, epochs=1)
    said: list[str] = []
    assert run_dir.latest_checkpoint({"configuration": "cd"}, said.append) is None
    assert said[0].endswith("its configuration is ab, this run's is cd")


def test_whoever_reads_a_file_that_is_being_replaced_reads_it_whole(tmp_path):
    path = tmp_path / "table.csv"
    contents = {letter * 200_000 for letter in "ab"}
    files.write_file(path, "a" * 200_000)

    def replace_it():
        for _ in range(100):
            for content in sorted(contents):
                files.write_file(path, content)

    writers = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            replace_it()
            os._exit(0)
        writers.append(pid)
    reads = 0
    while writers:
        assert path.read_text() in contents
        reads += 1
        writers = [pid for pid in writers if os.waitpid(pid, os.WNOHANG) == (0, 0)]
    assert reads > 10
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]


def test_a_checkpoint_is_due_after_seconds_and_more_seldom_where_writing_takes_long(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("seqadd.tracking.run_directory.time.monotonic", lambda: clock[0])
    run_dir = place_with(tmp_path, epochs=1)
    clock[0] += 4.9
    assert not run_dir.checkpoint_is_due()
    clock[0] += 0.2
    assert run_dir.checkpoint_is_due()

    def slow(path, checkpoint, **settings):
        clock[0] += 3.0

    monkeypatch.setattr(run_directory, "save", slow)
    run_dir.save(checkpoint_of(2))
    clock[0] += 299
    assert not run_dir.checkpoint_is_due()  # 3 seconds are a hundredth of 300
    clock[0] += 2
    assert run_dir.checkpoint_is_due()
