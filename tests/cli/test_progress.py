"""What a person sees of the progress, in a terminal and in a pipe."""

import io
import re

import pytest
from rich.console import Console

from seqadd.cli.progress import Display, EpochDone

METRICS = {"loss": 1.25, "acc": 0.5, "val_acc": 0.4375, "val_loss": 1.3}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the display believes; a test moves it on."""
    now = [0.0]
    monkeypatch.setattr("seqadd.cli.progress.time.monotonic", lambda: now[0])
    return now


def show(labels, epochs, steps, clock, at_once=1, terminal=False) -> str:
    """Output of a display to which ``(seconds later, job, epoch)`` are reported."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100, soft_wrap=True, color_system=None)
    with Display(labels, epochs, at_once, console) as display:
        for job in range(len(labels)):
            display.start(job)
        for seconds, job, epoch in steps:
            clock[0] += seconds
            display.receive(job, EpochDone(epoch, METRICS))
        display.end(0, "finished, run 12ab")
    return output.getvalue()


def test_plain_lines_tell_epoch_metrics_and_time_left(clock):
    lines = show(["gru"], [4], [(9, 0, 1), (2, 0, 2), (2, 0, 3), (2, 0, 4)], clock).splitlines()
    assert lines == [
        "gru  epoch 1/4  loss 1.2500  acc 0.5000  val_acc 0.4375",  # the first epoch carries the compilation
        "gru  epoch 2/4  loss 1.2500  acc 0.5000  val_acc 0.4375  0:04 left",
        "gru  epoch 3/4  loss 1.2500  acc 0.5000  val_acc 0.4375  0:02 left",
        "gru  epoch 4/4  loss 1.2500  acc 0.5000  val_acc 0.4375  0:00 left",
    ]


def test_plain_lines_come_a_twentieth_of_the_epochs_apart(clock):
    lines = show(["gru"], [200], [(1, 0, epoch) for epoch in range(1, 201)], clock).splitlines()
    shown = [int(re.search(r"epoch +(\d+)/200", line)[1]) for line in lines]
    assert shown == [1, *range(10, 201, 10)]
    assert lines[1].endswith("3:10 left")


def test_a_sweep_tells_its_own_time_left_and_how_jobs_ended(clock):
    steps = [(5, 0, 1), (0, 1, 1), (2, 0, 2), (0, 1, 2)]
    lines = show(["a", "bb"], [10, 40], steps, clock, at_once=2).splitlines()
    # 8 epochs of a and 38 of bb remain, at 2 s each: 92 s of work for two at once, but bb alone takes 76 s.
    assert lines[-2] == "bb  epoch  2/40  loss 1.2500  acc 0.5000  val_acc 0.4375  1:16 left  (sweep 1:16 left)"
    assert lines[-1] == "a   finished, run 12ab"


def test_in_a_terminal_there_is_a_bar(clock):
    output = show(["gru"], [4], [(9, 0, 1), (2, 0, 2)], clock, terminal=True)
    last = [line for line in output.splitlines() if "gru" in line][-1]
    assert "━" in last
    assert "2/4" in last
    assert "val_acc 0.4375" in last
    assert "0:04 left" in last
