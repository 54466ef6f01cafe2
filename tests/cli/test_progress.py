"""What a person sees of the progress, in a terminal and in a pipe."""

import io
import re
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest
from rich.console import Console

from seqadd.cli.layout import Row, choose_layout, line, metric_text, short_labels
from seqadd.cli.progress import Display, EpochDone, Message, Stage
from seqadd.errors import Interrupted

METRICS = {"loss": 1.25, "acc": 0.5, "val_acc": 0.4375, "val_loss": 1.3}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the display believes; a test moves it on."""
    now = [0.0]
    monkeypatch.setattr("seqadd.cli.progress.time.monotonic", lambda: now[0])
    return now


def show(labels, epochs, steps, clock, at_once=1, terminal=False) -> str:
    """Output of a display to which ``(seconds later, job, epoch or other report)`` are reported."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100, soft_wrap=True, color_system=None)
    with Display(labels, epochs, at_once, console) as display:
        for job in range(len(labels)):
            display.start(job)
        for seconds, job, report in steps:
            clock[0] += seconds
            display.receive(job, EpochDone(report, METRICS) if isinstance(report, int) else report)
        display.end(0, "finished, run 12ab")
    return output.getvalue()


def drawn(labels, epochs, steps, clock, width, **settings) -> list[str]:
    """The lines of bars after these reports, in a terminal of a width."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, **settings)
    display = Display(labels, epochs, 2, console)
    for job in range(len(labels)):
        display.start(job)
    for seconds, job, report in steps:
        clock[0] += seconds
        display.receive(job, EpochDone(report, METRICS) if isinstance(report, int) else report)
    return ["".join(part.text for part in row).rstrip() for row in console.render_lines(display, pad=False)]


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
    assert lines[-1] == "a   val_acc 0.4375  run 12ab"


def test_in_a_terminal_there_is_a_bar_and_at_the_end_a_line(clock):
    steps = [(9, 0, 1), (2, 0, 2)]
    (bar,) = drawn(["gru"], [4], steps, clock, 100)
    assert bar == "gru  ━━━━━━━━━━━━────────────  2/4  loss 1.2500  acc 0.5000  val_acc 0.4375  0:04 left"
    last = show(["gru"], [4], steps, clock, terminal=True).rpartition("\x1b[2K")[2]
    assert last == "gru  epoch 2/4  loss 1.2500  acc 0.5000  val_acc 0.4375\n"


def test_a_terminal_says_what_happens_before_the_first_epoch_and_a_pipe_does_not(clock):
    stage = [(1, 0, Stage("importing TensorFlow"))]
    (bar,) = drawn(["gru"], [4], stage, clock, 80)
    assert bar.endswith("0/4  importing TensorFlow")
    assert show(["gru"], [4], stage, clock) == ""
    assert "importing" not in drawn(["gru"], [4], [*stage, (1, 0, 1)], clock, 80)[0]


@pytest.fixture
def cell_outputs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What a notebook's cell shows after each update, as lines; makes this process a notebook's kernel."""
    shown: list[list[str]] = []

    def display(data: dict, raw: bool, display_id: bool) -> SimpleNamespace:
        assert raw
        assert display_id
        return SimpleNamespace(update=lambda data, raw: shown.append(data["text/plain"].splitlines()))

    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return shown


def test_in_a_notebook_bars_are_below_the_lines_and_only_lines_stay(cell_outputs, clock, capsys):
    with Display(["a", "bb"], [4, 4], 2) as display:
        display.start(0)
        display.start(1)
        for epoch in (1, 2):
            for job in (0, 1):
                clock[0] += 1
                display.receive(job, EpochDone(epoch, METRICS))
        *_, a, bb, _ = cell_outputs[-1]
        assert a == "a      ━━━━━━━━━━━━────────────  2/4  loss 1.2500  acc 0.5000  val_acc 0.4375  0:04 left"
        assert bb.startswith("bb     ━━━━━━━━━━━━────────────  2/4")
        n = len(cell_outputs)
        display.receive(0, EpochDone(3, METRICS))
        assert len(cell_outputs) == n  # too soon for the browser
        display.receive(0, Message("a line"))
        display.end(0, "finished, run 12ab")
        assert [line[:2] for line in cell_outputs[-1]] == ["a ", "a ", "a ", "bb", "sw"]
        display.end(1, "finished, run 34cd")
    assert cell_outputs[-1] == ["a   a line", "a   val_acc 0.4375  run 12ab", "bb  val_acc 0.4375  run 34cd"]
    assert capsys.readouterr().out == ""


def test_a_notebooks_single_run_ends_in_its_last_state(cell_outputs, clock):
    with Display(["gru"], [4]) as display:
        display.start(0)
        display.receive(0, EpochDone(4, METRICS))
        display.end(0, "finished, run 12ab")
    assert cell_outputs[-1] == ["gru  epoch 4/4  loss 1.2500  acc 0.5000  val_acc 0.4375"]


def test_a_run_that_was_finished_leaves_no_bar(clock):
    output = show(["gru"], [4], [(1, 0, Message("finished already: run 12ab"))], clock, terminal=True)
    assert output.rpartition("\x1b[2K")[2] == ""


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_a_sweep_wraps_jobs_are_told_apart_and_columns_stay(clock, width):
    labels = [f"learning_rate={rate} encoder_units={units} seed=0" for rate in (0.001, 0.01) for units in (64, 96)]
    before = drawn(labels, [200] * 4, [], clock, width)
    steps = [(n, job, epoch) for epoch, n in ((1, 9), (2, 2)) for job in range(4)]
    after = drawn(labels, [200] * 4, steps, clock, width)
    assert len(before) == len(after) == 5
    assert max(map(len, [*before, *after])) < width - 2  # there is room for ^C
    assert len({row[:16] for row in after[:4]} if width < 120 else {row[:50] for row in after[:4]}) == 4
    assert [row.index("/200") for row in after[:4]] == [row.index("/200") for row in before[:4]]
    assert all("val_acc 0.4375" in row for row in after[:4])


def test_labels_that_do_not_fit_become_their_values_or_numbers():
    labels = ["learning_rate=0.01 encoder_units=96", "learning_rate=0.01 encoder_units=64"]
    assert short_labels(labels, 120, 7) == labels
    assert short_labels(labels, 60, 7) == ["0.01 96", "0.01 64"]
    assert short_labels([f"{label} overlong={'x' * 20}" for label in labels], 60, 7) == ["job 1", "job 2"]


def test_without_colour_the_rest_of_a_bar_is_still_visible(clock):
    (bar,) = drawn(["gru"], [4], [(9, 0, 1)], clock, 80, no_color=True)
    assert re.search("━+─+  1/4", bar)


def test_a_huge_loss_is_short():
    assert [metric_text(each) for each in (0.12344, 12.3456, 123.456, 9.1e31)] == [
        "0.1234",
        "12.346",
        "123.46",
        "9e+31",
    ]
    columns = choose_layout(120, ["gru"], 3)
    assert "loss 9e+31   acc " in line(Row("gru", 0.5, "2/4", {**METRICS, "loss": 9.1e31}), columns, 120).plain


@pytest.mark.parametrize(
    ("resumes", "said"),
    [(True, "stopped after epoch 2 of 4; the same command resumes"), (False, "stopped after epoch 2 of 4")],
)
def test_after_ctrl_c_a_line_says_that_the_same_command_resumes(clock, resumes, said):
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, soft_wrap=True, color_system=None)
    with suppress(Interrupted), Display(["gru"], [4], console=console, resumes=resumes) as display:
        display.start(0)
        for epoch in (1, 2, 2):  # a run that is stopped reports its last epoch once more
            display.receive(0, EpochDone(epoch, METRICS))
        raise Interrupted(2)
    bar, _, last = output.getvalue().rpartition("\x1b[2K")
    assert bar
    assert last == f"gru  epoch 2/4  loss 1.2500  acc 0.5000  val_acc 0.4375\n{said}\n"


def test_a_pipe_gets_one_line_for_an_epoch_that_is_reported_twice():
    output = io.StringIO()
    with Display(["gru"], [4], console=Console(file=output, width=80, soft_wrap=True)) as display:
        display.start(0)
        for epoch in (1, 2, 2):
            display.receive(0, EpochDone(epoch, METRICS))
    assert [line.split()[2] for line in output.getvalue().splitlines() if "epoch" in line] == ["1/4", "2/4"]


def test_a_number_that_is_rounded_up_stays_as_narrow():
    assert [metric_text(each) for each in (9.99996, 99.9996, 999.96)] == ["10.000", "100.00", "999.96"]


def test_the_time_left_of_a_sweep_stands_below_that_of_its_jobs():
    columns = choose_layout(120, ["seed=0", "sweep"], len("12/200"))
    metrics = {"loss": 1.0, "acc": 0.5, "val_acc": 0.5}
    rows = [
        Row("seed=0", 0.5, "12/200", metrics, left="1:16 left"),
        Row("sweep", 0.5, "2/4", text="jobs", left="1:16 left"),
    ]
    job, sweep = (line(row, columns, 120).plain for row in rows)
    assert job.index("1:16 left") == sweep.index("1:16 left")
