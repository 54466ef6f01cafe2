"""Stops runs at various moments by signals, half of them with a checked heap, and reports how each ended.

    python benchmarks/stops.py                     200 stops, two at a time; an hour on a busy machine
    python benchmarks/stops.py --quick             does it run? four stops; build/benchmarks

It saves its findings after every two stops, in ``stops.csv``; started again, it resumes.

Each process starts as users start it. Most are runs, every eighth is a sweep of two jobs; every fourth is without XLA.
The signal comes while libraries are imported and the model is compiled (``start``), between short epochs
(``training``), in an epoch of many seconds (``long epoch``), or while results are written (``end``). Half of the
processes have ``MALLOC_PERTURB_`` and ``MALLOC_CHECK_=3``, so that a write behind a block of memory, or a read after
it was freed, crashes them.

Every second stop repeats the first one's command in the same folder, where it has to resume. A command that was stopped
while it wrote its results is run again and has to finish. If something goes wrong, the folder is kept with the output
and, if gdb is installed, the stacks of crashed processes.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench

from seqadd.cli.entry import command

PACKAGES = ("seqadd", "tensorflow", "mlflow")
CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
#: Prints the bytes of a freed block of memory, then writes one byte behind another block; plain glibc tolerates both.
MISUSE = """
import ctypes
freed = bytearray(1001)
address = ctypes.addressof((ctypes.c_char * 1001).from_buffer(freed))
del freed
print(ctypes.string_at(address + 100, 800).hex(), flush=True)
block = ctypes.create_string_buffer(1001)
ctypes.memset(ctypes.addressof(block) + 1001, 66, 1)
del block
"""

SHORT = ["cell=dense", "architecture=aligned", "task.digits=2", "task.n_questions=500", "batch_size=64"]
LONG = [
    "cell=dense", "architecture=aligned", "encoder_units=512", "task.n_questions=100000", "batch_size=64", "epochs=9",
]  # fmt: skip
_EPOCH = r"epoch +\d+/"
_LAST_LINE = r"\n(run|sweep) [0-9a-f]{32}, experiment"
#: For each moment: the overrides, how many of 20 pairs have it, the output to wait for before the signal, and the most
#: seconds between that output and the signal. Without an output the time counts from the start; without a time, the
#: signal comes before the first epoch is over.
MOMENTS: dict[str, tuple[list[str], int, str | None, float | None]] = {
    "start": ([*SHORT, "epochs=100000"], 8, None, None),
    "training": ([*SHORT, "epochs=100000"], 3, _EPOCH, 3.0),
    "long epoch": (LONG, 5, _EPOCH, 6.0),
    "end": ([*SHORT, "epochs=300"], 4, "epoch 300/300", 2.0),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How long a command may take to end, see docs/reliability.md; and after how long no process delivers its ending.
SECONDS_PROMISED, SECONDS_AT_MOST = 5.0, 60.0
SECONDS_TO_FINISH = 300.0


def environment(checked: bool) -> dict[str, str]:
    """Returns the environment of a process, with or without a checked heap; a crash prints a stack trace."""
    return {**os.environ, "PYTHONFAULTHANDLER": "1", **(CHECKED if checked else {})}


def check_the_check() -> None:
    """Ends this program if a checked heap does not detect a byte behind a block, or does not overwrite freed memory."""
    plain, checked = (
        subprocess.run([sys.executable, "-c", MISUSE], env=environment(each), capture_output=True, text=True)
        for each in (False, True)
    )
    codes, freed = (plain.returncode, checked.returncode), bytes.fromhex(checked.stdout.strip())
    byte = int(CHECKED["MALLOC_PERTURB_"])  # inverted in a block that is allocated again, until it is written
    if codes != (0, -signal.SIGABRT) or 2 * (freed.count(byte) + freed.count(0xFF ^ byte)) < len(freed):
        sys.exit(
            f"a byte behind a block ends with {codes[0]}, with a checked heap with {codes[1]}, where it should with 0 "
            f"and -6; freed memory reads {freed[:4].hex()}..."
        )


@dataclass(frozen=True)
class Pair:
    """Two stops of the same command.

    Attributes:
        number: of the pair; it determines all other attributes.
        moment: when the signal comes, a key of ``MOMENTS``.
        checked: whether the heap is checked.
        sweep: whether the command is a sweep.
        arguments: of ``python -m seqadd.run``.
    """

    number: int
    moment: str
    checked: bool
    sweep: bool
    arguments: list[str]


def pair_of(number: int) -> Pair:
    """Returns the pair of a number; consecutive pairs are mixed."""
    of_twenty = [moment for moment, (_, share, _, _) in MOMENTS.items() for _ in range(share)]
    moment = of_twenty[7 * number % 20]
    sweep, with_xla = number % 16 in (5, 10), number // 2 % 4 != 3
    arguments = [
        *(["-m", "seed=0,1", "hydra.launcher.jobs=2"] if sweep else []),
        *MOMENTS[moment][0],
        *([] if with_xla else ["jit=false"]),
    ]
    return Pair(number, moment, number % 2 == 1, sweep, arguments)


def start(pair: Pair, folder: Path, name: str) -> subprocess.Popen[bytes]:
    """Starts the command of a pair; its output goes to ``NAME.out`` and ``NAME.err`` in the folder."""
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "seqadd.run", *pair.arguments],
            cwd=folder, stdout=out, stderr=err, env=environment(pair.checked), start_new_session=True,
        )  # fmt: skip


def stop(n: int, pair: Pair, folder: Path, seconds_to_first_epoch: float) -> dict[str, Any]:  # noqa: C901
    """Starts a command, stops it, and returns how it ended.

    Args:
        n: the number of the stop.
        pair: the pair of the stop.
        folder: has a store, and the files that the previous stop in the same folder has left.
        seconds_to_first_epoch: about how long a run takes until its first epoch.
    """
    chance = random.Random(n)
    number, group = chance.choice(SIGNALS), chance.random() < 0.5
    _, _, line, seconds = MOMENTS[pair.moment]
    said, errors = folder / f"stop-{n}.out", folder / f"stop-{n}.err"
    process = start(pair, folder, f"stop-{n}")
    while line is not None and process.poll() is None and not re.search(line, said.read_text()):
        time.sleep(0.02)
    with suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0, seconds_to_first_epoch if seconds is None else seconds))
    over_before = process.poll() is not None
    heap_is_checked = not over_before and "libc_malloc_debug" in Path(f"/proc/{process.pid}/maps").read_text()
    cpu, used_before = 0.0, _cpu_seconds(process)
    began = time.monotonic()
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(process.pid, number)
    if process.returncode is None:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu = max(0.0, used.ru_utime + used.ru_stime - used_before)
    code = process.returncode
    ended = time.monotonic() - began
    gone, told = 0.0, 0.0
    statuses = ["RUNNING"]
    while not (gone and told) and time.monotonic() < began + SECONDS_AT_MOST:
        statuses = _statuses(folder)
        if not gone and not _is_there(process.pid):
            gone = time.monotonic() - began
        if not told and "RUNNING" not in statuses:
            told = time.monotonic() - began
        time.sleep(0.05)

    # Also 0, if the signal came after all work, and Python's own exit code, if it came before the first line or after
    # the last.
    expected = [128 + number]
    if pair.moment == "end":
        expected = [0] if over_before else [0, 128 + number]
        if re.search(_LAST_LINE, said.read_text()):
            expected.append(-number)
    elif pair.moment == "start" and "seqadd:" not in errors.read_text():
        expected.append(-number)
    faults = [] if code in expected else [f"exit code {code}"]
    if not told:
        faults.append(f"status {' '.join(statuses)}")
    if not gone:
        faults.append("a process is left")
    if not over_before and heap_is_checked != pair.checked:
        faults.append("the heap is not checked as it should be")
    before = folder / f"stop-{n - 1}.out"
    both_trained = all(path.exists() and re.search(_EPOCH, path.read_text()) for path in (before, said))
    if both_trained and "resuming after epoch" not in said.read_text():
        faults.append("does not go on")
    if pair.moment == "end":
        faults += _finished(n, pair, folder)
    return {
        "stop": n,
        "moment": pair.moment,
        "command": "sweep" if pair.sweep else "run",
        "jit": str("jit=false" not in pair.arguments).lower(),
        "heap": "checked" if pair.checked else "",
        "signal": number.name if group else f"{number.name} to the command alone",
        "exit_code": code,
        "seconds_to_exit": round(ended, 2),
        "of_a_processor": round(cpu, 2),
        "seconds_to_last_process": round(gone or SECONDS_AT_MOST, 2),
        "seconds_to_status": round(told or SECONDS_AT_MOST, 2),
        "statuses": " ".join(statuses),
        "load": round(os.getloadavg()[0], 1),
        "fault": "; ".join(faults),
    }


def _finished(n: int, pair: Pair, folder: Path) -> list[str]:
    """Runs a stopped command again, which has to finish; returns what went wrong, a line each."""
    process = start(pair, folder, f"again-{n}")
    try:
        code: int | None = process.wait(SECONDS_TO_FINISH)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        code = None
    # After a stopped sweep, its parent run counts too.
    statuses = set(_statuses(folder))
    return [] if code == 0 and statuses == {"FINISHED"} else [f"again: exit code {code}, {' '.join(sorted(statuses))}"]


def keep(folder: Path, n: int) -> Path:
    """Keeps a folder in which something went wrong, with the stacks of crashed processes; returns its new path."""
    for core in folder.glob("core*"):
        stacks = ["gdb", "-batch", "-ex", "thread apply all backtrace", sys.executable, str(core)]
        with suppress(OSError), (folder / f"{core.name}.stacks").open("wb") as file:
            subprocess.run(stacks, stdout=file, stderr=subprocess.STDOUT)
    return Path(shutil.copytree(folder, bench.QUICK_RESULTS / f"stop-{n}", dirs_exist_ok=True))


def _statuses(folder: Path) -> list[str]:
    """Returns the statuses of all runs of a store."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return sorted(status for (status,) in database.execute("SELECT status FROM runs"))


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Returns the processor seconds of a process, without its children; 0 if it has ended."""
    if process.poll() is not None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _is_there(group: int) -> bool:
    """Returns whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _late(rows: list[dict[str, Any]]) -> list[str]:
    """Returns a line about the commands that took longer than promised, and their share of a processor meanwhile."""
    late = [row for row in rows if float(row["seconds_to_exit"]) > SECONDS_PROMISED]
    if not late:
        return []
    shares = [float(row["of_a_processor"]) / float(row["seconds_to_exit"]) for row in late]
    return [
        f"\n{len(late)} commands took longer than {SECONDS_PROMISED:g} seconds. They had {100 * min(shares):.0f} to "
        f"{100 * max(shares):.0f} % of a processor from the signal on; other work on the machine had the rest."
    ]


def report(header: list[str], rows: list[dict[str, Any]]) -> str:
    """Returns the findings as Markdown."""
    faults = [row for row in rows if row["fault"]]
    loads = [float(row["load"]) for row in rows]
    lines = []
    for moment in MOMENTS:
        for heap in ("", "checked"):
            some = [row for row in rows if row["moment"] == moment and row["heap"] == heap]
            if some:
                codes = sorted({str(row["exit_code"]) for row in some}, key=int)
                worst = [
                    f"{max(float(row[f'seconds_to_{what}']) for row in some):.1f}"
                    for what in ("exit", "last_process", "status")
                ]
                lines.append([moment, heap, str(len(some)), ", ".join(codes), *worst])
    columns = ["moment", "heap", "stops", "exit codes", "s to exit", "s to last process", "s to status"]
    return "\n".join(
        [
            "# Runs and sweeps that were stopped",
            "",
            *header,
            "",
            f"{len(rows)} stops, {len(faults)} of which ended in another way than they should; the worst times, in "
            f"seconds after the signal, at a load of {min(loads)} to {max(loads)}:",
            "",
            *bench.markdown_table(columns, lines),
            *_late(rows),
            *[f"\nStop {row['stop']}, {row['moment']}: {row['fault']}" for row in faults],
            "",
        ]
    )


def main() -> None:  # noqa: C901
    """Command line of ``python benchmarks/stops.py``."""
    parser = argparse.ArgumentParser(description="How runs end that are stopped.")
    parser.add_argument("--stops", type=int, default=200, help="how many in all, in pairs; default 200")
    parser.add_argument("--at-once", type=int, default=2, help="how many at a time; default 2")
    parser.add_argument("--quick", action="store_true", help="four stops, to see whether everything runs")
    bench.add_out(parser)
    chosen = parser.parse_args()
    out = bench.out_folder(chosen)
    check_the_check()
    header = bench.header(PACKAGES)
    found: list[dict[str, Any]] = []
    if (out / "stops.csv").exists():
        with (out / "stops.csv").open(newline="") as file:
            found = list(csv.DictReader(file))
    there = {int(row["stop"]) for row in found}
    pairs = range(2 if chosen.quick else chosen.stops // 2)
    missing = [pair_of(number) for number in pairs if 2 * number not in there]
    keeping = threading.Lock()
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))

    with tempfile.TemporaryDirectory() as scratch, bench.Steps(2 * len(missing) or 1) as steps:
        first = Path(scratch) / "first"
        first.mkdir()
        seconds_to_first_epoch = {}
        for checked in (False, True):
            began = time.monotonic()
            once = [sys.executable, "-m", "seqadd.run", *SHORT, "epochs=1", f"seed={int(checked)}"]
            subprocess.run(once, cwd=first, check=True, stdout=subprocess.DEVNULL, env=environment(checked))
            seconds_to_first_epoch[checked] = time.monotonic() - began

        def store(name: str) -> Path:
            """Returns a new folder with a copy of an empty store, because creating a store takes seconds."""
            folder = Path(scratch) / name
            folder.mkdir()
            shutil.copy(first / "mlflow.db", folder)
            with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
                for table in ("latest_metrics", "metrics", "params", "tags", "inputs", "input_tags", "runs"):
                    database.execute(f"DELETE FROM {table}")
            return folder

        def both(pair: Pair) -> None:
            folder, rows = store(f"{pair.number}"), []
            for n in (2 * pair.number, 2 * pair.number + 1):
                if n % 2 and pair.moment == "end":  # a finished run cannot be stopped again
                    folder = store(f"{pair.number}-2")
                row = stop(n, pair, folder, seconds_to_first_epoch[pair.checked])
                if row["fault"]:
                    row["fault"] += f"; see {bench.in_clone(keep(folder, n))}"
                rows.append(row)
            with keeping:
                found.extend(rows)
                found.sort(key=lambda row: int(row["stop"]))
                bench.write_csv(out / "stops.csv", found)
                for row in rows:
                    said = f"stop {row['stop']}: {row['moment']}, exit code {row['exit_code']} {row['fault']}".rstrip()
                    steps.begin(said)
                    steps.done(1)
            for name in (f"{pair.number}", f"{pair.number}-2"):
                shutil.rmtree(Path(scratch) / name, ignore_errors=True)

        with ThreadPoolExecutor(chosen.at_once) as threads:
            list(threads.map(both, missing))
    bench.replace(out / "stops.md", lambda path: path.write_text(report(header, found)))
    print((out / "stops.md").read_text())


if __name__ == "__main__":
    with command():
        main()
