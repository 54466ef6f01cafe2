"""Stops runs at all moments of their lives, half of them with a checked heap, and says how each ended.

    python benchmarks/stops.py                     200 stops, two at a time; hours on a busy machine
    python benchmarks/stops.py --quick             does it run? four stops; build/benchmarks

What it has found is kept after every stop, in ``stops.csv``; started again, it goes on.

Each stop is a process as people start them, in a folder of its own: most are runs, every eighth is a sweep of two jobs.
A signal comes while libraries are imported and the model compiled (``start``), between short epochs (``training``), in
an epoch of many seconds (``long epoch``), or while results are written (``end``). Half of the processes have
``MALLOC_PERTURB_`` and ``MALLOC_CHECK_=3``, so that what is written behind a block of memory, or read after it was
freed, ends them.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
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
from pathlib import Path
from typing import Any

import bench

from seqadd.cli.entry import command

PACKAGES = ("seqadd", "tensorflow", "mlflow")
CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
#: Writes one byte behind a block of memory of libc's: glibc as it is does not notice.
OVERFLOW = """
import ctypes
block = ctypes.create_string_buffer(1001)
ctypes.memset(ctypes.addressof(block) + 1001, 66, 1)
del block
"""

SHORT = ["cell=dense", "architecture=aligned", "task.digits=2", "task.n_questions=500", "batch_size=64"]
LONG = [
    "cell=dense", "architecture=aligned", "encoder_units=512", "task.n_questions=100000", "batch_size=64", "epochs=9",
]  # fmt: skip
#: How a run is begun, how many of 20 stops are such, the line before the signal, and up to how many seconds after that
#: line it comes; without a line after the start, and then until the first epoch is over.
MOMENTS: dict[str, tuple[list[str], int, str | None, float | None]] = {
    "start": ([*SHORT, "epochs=100000"], 8, None, None),
    "training": ([*SHORT, "epochs=100000"], 3, "epoch ", 3.0),
    "long epoch": (LONG, 5, "epoch ", 6.0),
    "end": ([*SHORT, "epochs=300"], 4, "epoch 300/300", 2.0),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A store that has not been told by then is told by nobody.
SECONDS_TO_BE_TOLD = 60.0


def environment(checked: bool) -> dict[str, str]:
    """The environment of a process, with or without a checked heap."""
    return {**os.environ, **(CHECKED if checked else {})}


def check_the_check() -> None:
    """Ends this program where a checked heap does not notice a byte that is written behind a block."""
    codes = [
        subprocess.run([sys.executable, "-c", OVERFLOW], env=environment(checked), capture_output=True).returncode
        for checked in (False, True)
    ]
    if codes != [0, -signal.SIGABRT]:
        sys.exit(f"an overflow ends with {codes[0]}, with a checked heap with {codes[1]}; there must be a 0 and a -6")


def moment_of(n: int) -> str:
    """At what moment of its life the stop of this number comes."""
    of_twenty = [moment for moment, (_, share, _, _) in MOMENTS.items() for _ in range(share)]
    return of_twenty[7 * n % 20]  # so that any few in a row are mixed


def stop(n: int, folder: Path, seconds_to_first_epoch: float) -> dict[str, Any]:
    """Starts a command, stops it, and says what became of it.

    Args:
        n: the number of the stop, from which all else follows.
        folder: an empty store.
        seconds_to_first_epoch: about how long a run takes to begin.
    """
    chance = random.Random(n)
    checked, sweep, number, group = n % 2 == 1, n % 8 == 7, SIGNALS[n // 2 % 2], chance.random() < 0.5
    moment = moment_of(n)
    overrides, _, line, seconds = MOMENTS[moment]
    arguments = [*(["-m", "seed=0,1", "hydra.launcher.jobs=2"] if sweep else []), *overrides]
    with open(folder / "errors.txt", "w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "seqadd.run", *arguments],
            cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(checked),
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        if line is not None:
            while line not in (said := process.stdout.readline()) and said:
                pass
        threading.Thread(target=process.stdout.read, daemon=True).start()  # what else it says
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, seconds_to_first_epoch if seconds is None else seconds))
        over_before = process.poll() is not None
        began = time.monotonic()
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(process.pid, number)
        code = process.wait()
        ended = time.monotonic() - began
        gone, told = 0.0, 0.0
        statuses = ["RUNNING"]
        while not (gone and told) and time.monotonic() < began + SECONDS_TO_BE_TOLD:
            statuses = _statuses(folder)
            if not gone and not _is_there(process.pid):
                gone = time.monotonic() - began
            if not told and "RUNNING" not in statuses:
                told = time.monotonic() - began
            time.sleep(0.05)
        errors.seek(0)
        said_last = errors.read().strip().splitlines()
    # 0 where the signal came after the end of all work, and Python's own answer where it came before the first line.
    expected = [0] if over_before else [0, 128 + number] if statuses else [128 + number, -number]
    return {
        "stop": n,
        "moment": moment,
        "command": "sweep" if sweep else "run",
        "heap": "checked" if checked else "",
        "signal": number.name if group else f"{number.name} to the command alone",
        "exit_code": code,
        "seconds_to_exit": round(ended, 2),
        "seconds_to_last_process": round(gone or SECONDS_TO_BE_TOLD, 2),
        "seconds_to_status": round(told or SECONDS_TO_BE_TOLD, 2),
        "statuses": " ".join(statuses),
        "load": round(os.getloadavg()[0], 1),
        "fault": "" if code in expected and "RUNNING" not in statuses else " / ".join(said_last)[-300:] or "?",
    }


def _statuses(folder: Path) -> list[str]:
    """The statuses of all runs of a store."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return sorted(status for (status,) in database.execute("SELECT status FROM runs"))


def _is_there(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def report(header: list[str], rows: list[dict[str, Any]]) -> str:
    """What was found, as Markdown."""
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
            *[f"\nStop {row['stop']}, {row['moment']}: {row['exit_code']}, {row['fault']}" for row in faults],
            "",
        ]
    )


def main() -> None:
    """Command line of ``python benchmarks/stops.py``."""
    parser = argparse.ArgumentParser(description="How runs end that are stopped.")
    parser.add_argument("--stops", type=int, default=200, help="how many in all; default 200")
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
    missing = [n for n in range(4 if chosen.quick else chosen.stops) if str(n) not in {row["stop"] for row in found}]
    keeping = threading.Lock()

    with tempfile.TemporaryDirectory() as scratch, bench.Steps(len(missing) or 1) as steps:
        first = Path(scratch) / "first"
        first.mkdir()
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "seqadd.run", *SHORT, "epochs=1"], cwd=first, check=True, stdout=-3)
        seconds_to_first_epoch = time.monotonic() - began

        def one(n: int) -> None:
            folder = Path(scratch) / str(n)
            folder.mkdir()
            shutil.copy(first / "mlflow.db", folder)
            with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
                for table in ("latest_metrics", "metrics", "params", "tags", "inputs", "input_tags", "runs"):
                    database.execute(f"DELETE FROM {table}")
            row = stop(n, folder, seconds_to_first_epoch)
            with keeping:
                found.append(row)
                found.sort(key=lambda row: int(row["stop"]))
                bench.write_csv(out / "stops.csv", found)
                steps.begin(f"stop {n}: {row['moment']}, exit code {row['exit_code']} {row['fault']}".rstrip())
                steps.done(1)
            shutil.rmtree(folder, ignore_errors=True)

        with ThreadPoolExecutor(chosen.at_once) as threads:
            list(threads.map(one, missing))
    bench.replace(out / "stops.md", lambda path: path.write_text(report(header, found)))
    print((out / "stops.md").read_text())


if __name__ == "__main__":
    with command():
        main()
