"""Seconds of a training epoch: seqadd beside ``keras.Model.fit``, PyTorch and JAX, and the floor under all of them.

    python benchmarks/compare.py                                   everything; results in benchmarks/results
    python benchmarks/compare.py --settings lstm-64/32-512,gru-64/32-512 --rounds 9
    python benchmarks/compare.py --quick                           does it run? few sums, two rounds; build/benchmarks

All train the same model from the same weights on the same sums. Each contestant has its own process, once on one
processor with one thread and once on all processors with its library's own threads. First they must agree: the same
number of trained parameters, and the same loss. Then they train one epoch each in turn, round after round, so that a
slowdown of the machine affects all; every round has a new random order. Contestants sleep while another one trains.
The machine should be idle otherwise: threads that wait for each other suffer most from other load.

For the three cells, whole commands of one epoch are timed as well, from start to exit.

Not in this file: the models of the others (``peers.py``), the floor (``floor.py``), the accuracy
(``python -m seqadd.table``), evaluation after an epoch.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import floor
import peers
from peers import CONTESTANTS, GATES, Setting

from seqadd.cli.entry import command
from seqadd.system.hardware import processors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = list[dict[str, Any]]

SETTINGS = [
    Setting("lstm"),
    Setting("gru"),
    Setting("simple_rnn"),
    Setting("lstm", batch_size=64),
    Setting("lstm", batch_size=4096),
    Setting("lstm", 128, 128),
    Setting("lstm", 256, 256),
]
PEERS = [name for name in CONTESTANTS if name != "seqadd"]
FLOOR = "floor"
PACKAGES = ("seqadd", "tensorflow", "keras", "torch", "jax", "jaxlib", "numpy")
COMMAND_ROUNDS = 3

#: The number of sums whose mean loss must agree before training, and the largest relative difference.
N_CHECKED, TOLERANCE = 1_000, 1e-5
#: The largest share of the time between its turns that a process may compute without being reported.
IDLE_SHARE = 0.02


class Disagreement(RuntimeError):
    """The contestants do not compute the same, so their times cannot be compared."""


@dataclass(frozen=True)
class Ready:
    """A contestant before training: its number of parameters, its loss on the first sums, and seqadd's weights."""

    n_parameters: int
    loss: float
    weights: peers.Weights | None


def contestant(
    name: str, setting: Setting, weights: peers.Weights | None, threads: int | None
) -> Generator[Any, Any, None]:
    """The generator of a contestant's process. Yields once when built, then ``Ready``, then an answer per question.

    A number is an epoch to train; the answer is its seconds, and the processor seconds that the process used between
    the last answer and this question. None asks for the current loss and the peak memory in MB.
    """
    data = peers.make_sums(setting)
    model = CONTESTANTS[name](setting, data, weights, threads)
    yield
    checked = data.train_questions[:N_CHECKED], data.train_answers[:N_CHECKED]
    own = model.weights() if isinstance(model, peers.Seqadd) else None
    loss = model.loss(*checked)
    slept_from = time.process_time()
    epoch = yield Ready(model.n_parameters, loss, own)
    while epoch is not None:
        not_slept = time.process_time() - slept_from
        start = time.perf_counter()
        model.epoch(epoch)
        seconds = time.perf_counter() - start
        slept_from = time.process_time()
        epoch = yield seconds, not_slept
    yield model.loss(*checked), bench.peak_memory_mb()


def floor_of(setting: Setting, threads: int | None) -> Generator[Any, Any, None]:
    """The generator of the floor's process: like ``contestant``, for an epoch's matrix products, without a loss."""
    products = floor.Floor(setting, threads)
    yield
    slept_from = time.process_time()
    epoch = yield
    while epoch is not None:
        not_slept = time.process_time() - slept_from
        seconds = products.epoch_seconds()
        slept_from = time.process_time()
        epoch = yield seconds, not_slept
    yield None, bench.peak_memory_mb()


@dataclass
class Runner:
    """A contestant's process and its measurements; ``seconds`` excludes the first epoch."""

    name: str
    threads: int
    worker: bench.Worker
    to_first_epoch: float
    answered_at: float
    seconds: list[float] = field(default_factory=list)
    idle_share: float = 0.0

    @property
    def title(self) -> str:
        """``pytorch, 2 threads``."""
        return f"{self.name}, {_threads(self.threads)}"

    def train(self, epoch: int) -> float:
        """Trains an epoch and returns its seconds."""
        asked_at = time.perf_counter()
        seconds: float
        seconds, not_slept = self.worker.ask(epoch)
        self.idle_share = max(self.idle_share, not_slept / max(asked_at - self.answered_at, 1.0))
        self.answered_at = time.perf_counter()
        return seconds


def measure(setting: Setting, rounds: int, steps: bench.Steps, logs: Path) -> Rows:
    """Measures one setting; returns rows in the columns of ``epoch_time.csv``.

    Args:
        setting: the model to train.
        rounds: epochs of each contestant that count, after a first one that does not.
        steps: shows the progress.
        logs: folder for the stderr of the processes.

    Raises:
        Disagreement: when contestants differ in their number of parameters or in their loss.
    """
    runners: list[Runner] = []
    reference: Ready | None = None
    try:
        # seqadd first, because the others start with its weights.
        for name in [*CONTESTANTS, FLOOR]:
            for threads in dict.fromkeys([1, processors()]):
                own_threads = 1 if threads == 1 else None
                steps.begin(f"{setting.name}: {name}, {_threads(threads)}, first epoch")
                weights = reference.weights if reference else None
                work = (floor_of, setting) if name == FLOOR else (contestant, name, setting, weights)
                log = logs / f"{name}-{threads}.log"
                worker = bench.Worker(*work, own_threads, threads=own_threads, log=log)
                worker.answer()
                startup = time.perf_counter() - worker.started
                ready = worker.ask("ready")
                runner = Runner(name, threads, worker, startup, time.perf_counter())
                runners.append(runner)
                if name != FLOOR:
                    reference = reference or ready
                    _check(runner.title, ready, reference)
                runner.to_first_epoch += runner.train(1)
                steps.done(_start_cost(setting, name))
        drawn = random.Random(0)
        for number in range(1, rounds + 1):
            steps.begin(f"{setting.name}: round {number} of {rounds}")
            for runner in drawn.sample(runners, len(runners)):
                runner.seconds.append(runner.train(1 + number))
                steps.done(_epoch_cost(setting, runner.name))
        rows = []
        floors = {runner.threads: statistics.median(runner.seconds) for runner in runners if runner.name == FLOOR}
        for runner in runners:
            loss, memory = runner.worker.ask(None)
            assert reference is not None
            if loss is not None and not loss < reference.loss:
                raise Disagreement(f"{setting.name}: {runner.title} learns nothing: loss {reference.loss} -> {loss}")
            if runner.idle_share > IDLE_SHARE:
                steps.notify(f"{setting.name}: {runner.title} does not sleep between turns ({runner.idle_share:.0%})")
            rows.append(_row(setting, runner, floors[runner.threads], loss, memory))
        return rows
    finally:
        for runner in runners:
            runner.worker.end()


def _check(title: str, ready: Ready, reference: Ready) -> None:
    """Raises Disagreement unless a contestant has seqadd's number of parameters and its loss."""
    if ready.n_parameters != reference.n_parameters:
        raise Disagreement(f"{title}: trains {ready.n_parameters} parameters, seqadd {reference.n_parameters}")
    if not abs(ready.loss - reference.loss) <= TOLERANCE * abs(reference.loss):
        raise Disagreement(f"{title}: loss {ready.loss} from the weights with which seqadd has {reference.loss}")


def _row(setting: Setting, runner: Runner, floor_seconds: float, loss: float | None, memory: float) -> dict[str, Any]:
    median = statistics.median(runner.seconds)
    contests = runner.name != FLOOR
    return {
        "setting": setting.name,
        "cell": setting.cell,
        "units": setting.units,
        "batch_size": setting.batch_size,
        "contestant": runner.name,
        "threads": runner.threads,
        **bench.spread(runner.seconds, digits=5),
        "share_of_floor": round(floor_seconds / median, 4) if contests else None,
        "peak_memory_mb": round(memory) if contests else None,
        "to_first_epoch_seconds": round(runner.to_first_epoch, 2) if contests else None,
        "loss_at_end": round(loss, 4) if loss is not None else None,
    }


def measure_commands(cell: str, rounds: int, steps: bench.Steps) -> Rows:
    """Times whole commands that train one epoch at 64/32 units, batches of 512, from start to exit.

    Returns:
        Rows in the columns of ``command_time.csv``. seqadd's command also evaluates and records its run.
    """
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for number in range(1, rounds + 1):
        for name in CONTESTANTS:
            steps.begin(f"{cell}: whole command, {name}, {number} of {rounds}")
            with tempfile.TemporaryDirectory() as folder:
                if name == "seqadd":
                    arguments = ["-m", "seqadd.run", f"cell={cell}", "era=keras3", "epochs=1"]
                    arguments += [f"tracking.uri=sqlite:///{folder}/mlflow.db"]
                else:
                    arguments = [str(Path(peers.__file__).resolve()), name, cell]
                start = time.perf_counter()
                done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
                seconds[name].append(time.perf_counter() - start)
            if done.returncode != 0:
                raise bench.WorkerFailed(f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr[-2000:]}")
            steps.done(_COMMAND_COST)
    return [{"cell": cell, "contestant": name, **bench.spread(of_name, digits=2)} for name, of_name in seconds.items()]


# Rough seconds, only for the display of the remaining time.
_COMMAND_COST = 11.0


def _epoch_cost(setting: Setting, name: str) -> float:
    if name == FLOOR:
        return 1.0
    batches = setting.n_questions / setting.batch_size
    multiplications = sum(
        product.ways[0][0] * product.ways[0][1].m * product.ways[0][1].k * product.ways[0][1].n
        for product in floor.products(setting)
    )
    return batches * (0.003 + multiplications / 4e10)


def _start_cost(setting: Setting, name: str) -> float:
    return 8.0 + _epoch_cost(setting, name)


def _threads(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def report(header: list[str], rows: Rows, command_rows: Rows) -> str:
    """Returns the results as Markdown: seqadd beside each peer at its best, all rows, whole commands.

    Args:
        header: see ``bench.header``.
        rows: as ``measure`` returns them, of one setting or several.
        command_rows: as ``measure_commands`` returns them, of no cell or several.
    """
    lines = ["# Seconds of a training epoch", "", *header, ""]
    lines += [
        "Median over the rounds. seqadd has one thread, each peer as many as it is quicker with, named in brackets. "
        "Ratios are seqadd's seconds by the peer's: below 1 seqadd is quicker. The floor is the time of the matrix "
        "products alone with one thread; seqadd's share of it is floor by seqadd.",
        "",
    ]
    times = [f"{name}, s" for name in ("seqadd", *PEERS)]
    columns = ["cell, units, batch", *times, *(f"seqadd / {peer}" for peer in PEERS), "floor, s", "share of it"]
    lines += bench.markdown_table(columns, [_at_best(of_setting) for of_setting in _grouped(rows, "setting")])

    lines += ["", "## Everything", ""]
    lines += [
        "Share: of the floor with as many threads. To first epoch: from the start of the process to the end of its "
        "first epoch, compilation included. Memory: the most that the process held, compilation included.",
        "",
    ]
    columns = ["cell, units, batch", "contestant", "threads", "seconds (min..max)", "share", "to first epoch", "memory"]
    lines += bench.markdown_table(columns, [_in_full(row) for row in rows])

    if command_rows:
        lines += ["", "## A whole command with one epoch", ""]
        lines += [
            "Seconds from start to exit, 64/32 units, batches of 512, each with its own number of threads (seqadd: 1). "
            "seqadd's command also evaluates the model and records the run with its artifacts.",
            "",
        ]
        cells = _grouped(command_rows, "cell")
        table = [[of_cell[0]["cell"], *(_spread(row, digits=1) for row in of_cell)] for of_cell in cells]
        lines += bench.markdown_table(["cell", *CONTESTANTS], table)
    return "\n".join([*lines, ""])


def _grouped(rows: Rows, key: str) -> list[Rows]:
    """Groups consecutive rows with the same value of a key."""
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row[key])]


def _title(row: dict[str, Any]) -> str:
    return f"{row['cell']}, {row['units']}, {row['batch_size']}"


def _at_best(of_setting: Rows) -> list[str]:
    """Returns a line of the first table."""
    seconds = {(row["contestant"], row["threads"]): row["seconds_median"] for row in of_setting}
    ours, floor_seconds = seconds["seqadd", 1], seconds[FLOOR, 1]
    best = [min((value, threads) for (name, threads), value in seconds.items() if name == peer) for peer in PEERS]
    return [
        _title(of_setting[0]),
        f"{ours:.3f}",
        *(f"{value:.3f} ({threads})" for value, threads in best),
        *(f"{ours / value:.2f}" for value, _ in best),
        f"{floor_seconds:.3f}",
        f"{floor_seconds / ours:.0%}",
    ]


def _in_full(row: dict[str, Any]) -> list[str]:
    """Returns a line of the second table."""
    known = [_title(row), row["contestant"], str(row["threads"]), _spread(row, digits=3)]
    if row["contestant"] == FLOOR:
        return [*known, "", "", ""]
    share, start, memory = row["share_of_floor"], row["to_first_epoch_seconds"], row["peak_memory_mb"]
    return [*known, f"{share:.0%}", f"{start:.1f} s", f"{memory} MB"]


def _spread(row: dict[str, Any], digits: int) -> str:
    median, low, high = (f"{row[f'seconds_{name}']:.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({low}..{high})"


def figure(rows: Rows, machine: str) -> Figure:
    """Draws seconds of an epoch: a band for each setting with a line for each contestant in it, and the floor.

    Args:
        rows: as ``measure`` returns them, of one setting or several.
        machine: for the picture's caption.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from seqadd.reporting.style import HUES

    colours = dict(zip(CONTESTANTS, HUES, strict=False))
    dashes: dict[bool, Any] = {False: "-", True: (0, (2, 1.5))}
    bands = _grouped(rows, "setting")
    picture = Figure(figsize=(8, 1.5 + 0.85 * len(bands)), layout="constrained")
    axes = picture.add_subplot()
    for at, of_setting in enumerate(bands):
        for row in of_setting:
            seconds, several = row["seconds_median"], row["threads"] > 1
            if row["contestant"] == FLOOR:
                axes.vlines(seconds, at - 0.42, at + 0.42, color="black", linewidth=1.4, linestyle=dashes[several])
                continue
            name, colour = row["contestant"], colours[row["contestant"]]
            axes.errorbar(
                seconds,
                at - 0.3 + 0.2 * list(colours).index(name) + (0.04 if several else -0.04),
                xerr=[[seconds - row["seconds_min"]], [row["seconds_max"] - seconds]],
                fmt="s" if several else "o",
                markersize=6,
                color=colour,
                markerfacecolor="white" if several else colour,
                capsize=2.5,
            )
        if at:
            axes.axhline(at - 0.5, color="0.8", linewidth=0.8)
    names = [f"{band[0]['cell']} {band[0]['units']}\nbatch {band[0]['batch_size']}" for band in bands]
    axes.set_yticks(range(len(bands)), names)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(len(bands) - 0.5, -0.5), xscale="log", xlabel="seconds of an epoch (median; bars: least to most)")
    bench.written_out(axes.xaxis)
    axes.grid(axis="x", alpha=0.4)
    axes.set_axisbelow(True)

    entries = [Line2D([], [], color=colour, marker="o", linestyle="", label=name) for name, colour in colours.items()]
    for threads in dict.fromkeys(row["threads"] for row in rows):
        fill, words = "white" if threads > 1 else "0.4", _threads(threads)
        marker = "s" if threads > 1 else "o"
        entries.append(Line2D([], [], color="0.4", marker=marker, markerfacecolor=fill, linestyle="", label=words))
        style = dashes[threads > 1]
        entries.append(Line2D([], [], color="black", linewidth=1.4, linestyle=style, label=f"floor, {words}"))
    picture.legend(handles=entries, loc="outside upper center", ncols=4, frameon=False)
    picture.supxlabel(machine, fontsize=7, color="0.4")
    return picture


def write(out: Path, header: list[str], rows: Rows, command_rows: Rows) -> None:
    """Writes the results so far to ``epoch_time`` (csv, md, png) and ``command_time.csv`` in ``out``."""
    bench.write_csv(out / "epoch_time.csv", rows)
    if command_rows:
        bench.write_csv(out / "command_time.csv", command_rows)
    text = report(header, rows, command_rows)
    bench.replace(out / "epoch_time.md", lambda path: path.write_text(text))
    picture = figure(rows, bench.date_and_machine(header))
    bench.replace(out / "epoch_time.png", lambda path: picture.savefig(path, dpi=200))


def main() -> None:
    """Command line of ``python benchmarks/compare.py``."""
    names = {setting.name: setting for setting in SETTINGS}
    parser = argparse.ArgumentParser(
        description="Seconds of a training epoch: seqadd, keras.Model.fit, PyTorch and JAX on the same model.",
        epilog=f"settings: {', '.join(names)}",
    )
    parser.add_argument("--settings", metavar="NAME,...", help="only these (and no whole commands of other cells)")
    parser.add_argument("--rounds", type=int, help="epochs of each contestant that count (default: 5)")
    parser.add_argument("--quick", action="store_true", help="5,000 sums and 2 rounds, to see whether everything runs")
    bench.add_out(parser)
    chosen = parser.parse_args()
    out = bench.out_folder(chosen)
    peers.require_packages()
    unknown = set(chosen.settings.split(",")) - set(names) if chosen.settings else set()
    if unknown:
        parser.error(f"no such setting: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    settings = [names[name] for name in chosen.settings.split(",")] if chosen.settings else SETTINGS
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    command_rounds = 1 if chosen.quick else COMMAND_ROUNDS
    if chosen.quick:
        settings = [dataclasses.replace(setting, n_questions=5_000) for setting in settings]
    commands = [cell for cell in GATES if any(setting.name == Setting(cell).name for setting in settings)]

    header = bench.header(PACKAGES)
    sums = settings[0].n_questions * 9 // 10
    header.append(f"- an epoch: {sums:,} three-digit sums; {rounds} rounds" + (" (--quick)" if chosen.quick else ""))
    total = len(commands) * command_rounds * len(CONTESTANTS) * _COMMAND_COST
    for setting in settings:
        for name in [*CONTESTANTS, FLOOR]:
            both = len({1, processors()})
            total += both * (_start_cost(setting, name) + rounds * _epoch_cost(setting, name))
    rows: Rows = []
    command_rows: Rows = []
    with bench.Steps(total) as steps, tempfile.TemporaryDirectory() as logs:
        for setting in settings:
            rows += measure(setting, rounds, steps, Path(logs))
            write(out, header, rows, command_rows)  # so that an interrupted benchmark leaves something
        for cell in commands:
            command_rows += measure_commands(cell, command_rounds, steps)
            write(out, header, rows, command_rows)
    print((out / "epoch_time.md").read_text())


if __name__ == "__main__":
    with command():
        main()
