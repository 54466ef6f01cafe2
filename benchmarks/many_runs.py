"""Measures how long the table takes with many recorded runs of many people: from a database file, and over a server.

    python benchmarks/many_runs.py                  10,000 runs; results in benchmarks/results
    python benchmarks/many_runs.py --quick          does it run? 400 runs, one round; build/benchmarks
    python benchmarks/many_runs.py --store FOLDER   keep the store there, and use it again if it is there (2.4 GB)

The runs are synthetic, but the store is real: MLflow's own tables, with all that ``seqadd.run`` records of a run except
artifacts. 40 people, 25 commits, 1,000 conditions. A tenth of all runs are those of the article's table, 200 epochs and
ten seeds of each cell, by one person after another; the others are sweeps over units, batches, step sizes and eras, of
50 epochs. One in eleven has failed or was killed, and a fifth of the sweeps are in two other experiments.

Whole commands are timed in turn, from the start of Python to its end; the server is MLflow's, on this machine and over
the same file.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import math
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
import sqlalchemy

from seqadd.cli.entry import command
from seqadd.comparison import table
from seqadd.config import composition
from seqadd.config.schema import Config, override_text

ROUNDS = 5
RUNS = 10_000
PACKAGES = ("seqadd", "mlflow", "sqlalchemy", "pandas")
PEOPLE = [f"person{n:02}" for n in range(40)]
COMMITS = [hashlib.sha256(str(n).encode()).hexdigest()[:40] for n in range(25)]
METRICS = (
    "loss", "acc", "val_loss", "val_acc", "val_exact_match", "epoch_seconds",
    *(f"val_acc_position_{n}" for n in range(1, 5)), *(f"val_exact_match_carries_{n}" for n in range(4)),
)  # fmt: skip
SEEDS = range(10)
_BEGAN = 1_790_000_000_000  # milliseconds since 1970

#: The timed commands: a name, a description, the arguments.
QUESTIONS = {
    "article": ("the article's table", []),
    "one person": ("of one person's runs alone", ["--user", PEOPLE[0]]),
    "one commit": ("of one commit's runs alone", ["--commit", COMMITS[0][:8]]),
    "curves": ("with the learning curves", ["--figure", "curves.png"]),
    "24 columns": (
        "24 conditions of ten seeds",
        ["cell=lstm", "reverse=true", "batch_size=64,128", "encoder_units=32,64,96,128",
         "learning_rate=0.0001,0.0003,0.001", "--epochs", "10,20"],
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A synthetic run."""

    run_id: str
    experiment: str
    config: Config
    user: str
    commit: str
    status: str
    start_time: int

    @property
    def epochs(self) -> int:
        """The number of recorded epochs: half of them if it did not finish."""
        return self.config.epochs if self.status == "FINISHED" else self.config.epochs // 2

    def value(self, metric: str, epoch: int) -> float:
        """Returns a value that rises to 1 over the epochs; a loss falls."""
        reached = 1 - math.exp(-epoch / (40 + 3 * self.config.seed))
        return 2.5 * (1 - reached) if "loss" in metric else 0.4 if metric == "epoch_seconds" else reached


def conditions() -> Iterator[Config]:
    """Yields the conditions of the sweeps."""
    for cell, era, reverse in itertools.product(("lstm", "gru", "simple_rnn"), ("keras2", "keras3"), (True, False)):
        (column,) = composition.compose_selection(
            [f"cell={cell}", f"era={era}", f"reverse={override_text(reverse)}"]
        ).columns
        sizes = itertools.product((64, 128, 256, 1024), (32, 64, 96, 128), (1e-4, 3e-4, 1e-3, 3e-3, 1e-2))
        for batch_size, units, rate in sizes:
            yield dataclasses.replace(column.config, batch_size=batch_size, encoder_units=units, learning_rate=rate)


def made_up(n_runs: int) -> list[Made]:
    """Returns synthetic runs in the order in which they began."""
    article = [column.config for column in composition.compose_selection(table.ARTICLE_COLUMNS).columns]
    jobs = [
        (people_round, "seqadd", dataclasses.replace(config, seed=seed, epochs=200))
        for people_round in range(math.ceil(n_runs / 10 / len(article) / len(SEEDS)))
        for config in article
        for seed in SEEDS
    ]
    n_sweeps = (n_runs - len(jobs)) // len(SEEDS)
    for n, config in enumerate(itertools.islice(conditions(), n_sweeps)):
        experiment = ("attention", "scratch")[n % 2] if n % 10 in (3, 6) else "seqadd"
        jobs += [(n, experiment, dataclasses.replace(config, seed=seed, epochs=50)) for seed in SEEDS]
    runs = []
    for n, (people_round, experiment, config) in enumerate(jobs):
        status = "FAILED" if n % 17 == 5 else "KILLED" if n % 29 == 11 else "FINISHED"
        run_id = hashlib.sha256(f"run {n}".encode()).hexdigest()[:32]
        user, commit = PEOPLE[people_round % len(PEOPLE)], COMMITS[people_round % len(COMMITS)]
        runs.append(Made(run_id, experiment, config, user, commit, status, _BEGAN + 100_000 * n))
    return runs


def make_store(folder: Path, n_runs: int, steps: bench.Steps) -> None:
    """Creates ``mlflow.db`` in a folder, with synthetic runs."""
    from mlflow.store.tracking.dbmodels import models

    from seqadd.tracking.connection import open_store

    folder.mkdir(parents=True, exist_ok=True)
    runs = made_up(n_runs)
    place = dataclasses.replace(runs[0].config.tracking, uri=f"sqlite:///{folder / 'unfinished.db'}")
    ids = {
        experiment: open_store(dataclasses.replace(place, experiment=experiment)).experiment_id
        for experiment in {run.experiment for run in runs}
    }
    engine = sqlalchemy.create_engine(place.uri)
    metrics: sqlalchemy.Table = models.SqlMetric.__table__
    with engine.connect() as connection:
        # No other process reads it, and an incomplete file is not kept.
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
        connection.exec_driver_sql("PRAGMA journal_mode = OFF")
        for index in metrics.indexes:
            index.drop(connection)
        _insert_runs(connection, folder, runs, ids)
        _insert_tags_and_params(connection, runs)
        _insert_metrics(connection, runs, steps)
        connection.commit()
        for index in metrics.indexes:
            index.create(connection)
        connection.commit()
    engine.dispose()
    (folder / "unfinished.db").rename(folder / "mlflow.db")


def _insert(connection: sqlalchemy.Connection, into: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    places = ", ".join("?" * len(columns.split(",")))
    connection.exec_driver_sql(f"INSERT INTO {into} ({columns}) VALUES ({places})", rows)


def _insert_runs(connection: sqlalchemy.Connection, folder: Path, runs: list[Made], ids: dict[str, str]) -> None:
    """Inserts runs; ``ids`` are the IDs of the experiments by name."""
    _insert(
        connection,
        "runs",
        "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
        "source_version, lifecycle_stage, artifact_uri, experiment_id",
        [
            (run.run_id, _name(run), "UNKNOWN", "", "", run.user, run.status, run.start_time,
             run.start_time + 400 * run.epochs, "", "active", f"{folder}/mlruns/{run.experiment}/{run.run_id}",
             int(ids[run.experiment]))
            for run in runs
        ],
    )  # fmt: skip


def _insert_tags_and_params(connection: sqlalchemy.Connection, runs: list[Made]) -> None:
    from seqadd.tracking import provenance

    common = provenance.run_tags(runs[0].config)
    for some in _batched(runs, 500):
        tags = [(key, value, run.run_id) for run in some for key, value in _tags(run, common).items()]
        _insert(connection, "tags", "key, value, run_uuid", tags)
        params = [
            (key, override_text(value), run.run_id) for run in some for key, value in run.config.result_keys().items()
        ]
        _insert(connection, "params", "key, value, run_uuid", params)


def _insert_metrics(connection: sqlalchemy.Connection, runs: list[Made], steps: bench.Steps) -> None:
    columns = "key, value, timestamp, step, is_nan, run_uuid"
    for metric in METRICS:
        steps.begin(f"a store of {len(runs)} runs: {metric}")
        for some in _batched(runs, 500):
            rows = [
                (metric, run.value(metric, epoch), run.start_time + 400 * epoch, epoch, 0, run.run_id)
                for run in some
                for epoch in range(1, run.epochs + 1)
            ]
            _insert(connection, "metrics", columns, rows)
        last = [(metric, r.value(metric, r.epochs), r.start_time + 400 * r.epochs, r.epochs, 0, r.run_id) for r in runs]
        _insert(connection, "latest_metrics", columns, last)
        steps.done(1)


def _batched(runs: list[Made], n: int) -> Iterator[list[Made]]:
    for first in range(0, len(runs), n):
        yield runs[first : first + n]


def _name(run: Made) -> str:
    return f"{run.config.cell} seed {run.config.seed}, {run.config.architecture}, {run.config.epochs} epochs"


def _tags(run: Made, common: dict[str, str]) -> dict[str, str]:
    return {
        **common,
        "mlflow.runName": _name(run),
        "mlflow.user": run.user,
        "mlflow.source.name": "seqadd",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": run.commit,
        "recorder": run.run_id,
        "config_hash": run.config.config_hash(),
        "condition_hash": run.config.condition_hash(),
        "trajectory_hash": run.config.trajectory_hash(),
        "era": run.config.era,
        "git_commit": run.commit,
        "git_dirty": "false",
        "data_digest": hashlib.sha256(str(run.config.seed).encode()).hexdigest()[:16],
        "weights_sha256": hashlib.sha256(run.run_id.encode()).hexdigest(),
    }


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A context manager that runs an MLflow server over the store of a folder, on loopback; yields its URI."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    program = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    where = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*program, *where], stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    try:
        for _ in range(3000):
            with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=1):
                break
            time.sleep(0.1)
        else:
            raise bench.WorkerFailed(f"no server: {(folder / 'server.log').read_text()[-2000:]}")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def timed(arguments: list[str]) -> tuple[float, float]:
    """Runs ``python -m seqadd.table``; returns its wall-clock seconds and its processor seconds."""
    with tempfile.TemporaryDirectory() as folder:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "seqadd.table", *arguments], cwd=folder, capture_output=True, text=True
        )
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0 or "measured" not in done.stdout:
        raise bench.WorkerFailed(f"exit code {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folder: Path, rounds: int, steps: bench.Steps) -> list[dict[str, Any]]:
    """Returns a row for each command and store: seconds, median and range over the rounds."""
    measured: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with served(folder) as address:
        for number in range(1, rounds + 1):
            for (name, (_, arguments)), (store, uri) in itertools.product(
                QUESTIONS.items(), (("file", f"sqlite:///{folder / 'mlflow.db'}"), ("server", address))
            ):
                steps.begin(f"round {number} of {rounds}: {name}, {store}")
                measured.setdefault((name, store), []).append(timed([f"tracking.uri={uri}", *arguments]))
                steps.done(1)
    return [
        {
            "question": name,
            "store": store,
            **bench.spread([wall for wall, _ in each], digits=2),
            "cpu_seconds_median": round(statistics.median(cpu for _, cpu in each), 2),
        }
        for (name, store), each in measured.items()
    ]


def report(header: list[str], n_runs: int, rows: list[dict[str, Any]]) -> str:
    """Returns the results as Markdown."""
    seconds = {(row["question"], row["store"]): f"{row['seconds_median']:.1f}" for row in rows}
    cpu = {(row["question"], row["store"]): f"{row['cpu_seconds_median']:.1f}" for row in rows}
    lines = [f"# `python -m seqadd.table` where {n_runs:,} runs are recorded", "", *header, ""]
    lines += ["Seconds of the whole command, median; in brackets those of a processor, without the server's.", ""]
    cells = [
        [what, *(f"{seconds[name, store]} ({cpu[name, store]})" for store in ("file", "server"))]
        for name, (what, _) in QUESTIONS.items()
    ]
    return "\n".join([*lines, *bench.markdown_table(["", "SQLite file", "MLflow server"], cells), ""])


def main() -> None:
    """Command line of ``python benchmarks/many_runs.py``."""
    parser = argparse.ArgumentParser(description="Seconds of the table where many people have recorded many runs.")
    parser.add_argument("--quick", action="store_true", help="400 runs, one round, to see whether everything runs")
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="where the store is kept (default: nowhere)")
    bench.add_out(parser)
    chosen = parser.parse_args()
    out = bench.out_folder(chosen)
    rounds, n_runs = (1, 400) if chosen.quick else (ROUNDS, RUNS)
    header = bench.header(PACKAGES)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.store or Path(temporary)).absolute()
        there = (folder / "mlflow.db").exists()
        with bench.Steps((0 if there else len(METRICS)) + 2 * len(QUESTIONS) * rounds) as steps:
            if not there:
                make_store(folder, n_runs, steps)
            rows = measure(folder, rounds, steps)
    bench.write_csv(out / "many_runs.csv", rows)
    bench.replace(out / "many_runs.md", lambda path: path.write_text(report(header, n_runs, rows)))
    print((out / "many_runs.md").read_text())


if __name__ == "__main__":
    with command():
        main()
