"""Measures seconds per logged epoch: SQLite beside an MLflow server with PostgreSQL and passwords, 1 and 32 writers.

    python benchmarks/store.py                               results in benchmarks/results/store.csv
    python benchmarks/store.py --quick                       does it run? few epochs; build/benchmarks

A writer is a process that opens the store, begins a run and records 50 epochs, each with the metrics of a real one; all
begin at once. No model is trained meanwhile. Two ways:

- "as a run": an epoch every 0.4 seconds, like an LSTM on this kind of machine, through ``RunRecorder.log_epoch``, which
  sends at most one request a second. The time is how long training would wait for the store, per epoch.
- "each at once": a request for every epoch, one after another, as fast as the store responds.

Afterwards the benchmark checks every value in the database. ``scripts/services.py`` starts the server, on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import bench
import sqlalchemy

from seqadd.config.schema import Tracking
from seqadd.tracking import recording
from seqadd.tracking.connection import open_store_with_retry

sys.path.insert(0, str(bench.CLONE / "scripts"))
import services

PACKAGES = ("seqadd", "mlflow", "sqlalchemy", "psycopg2-binary")
WRITERS = (1, 32)
WAYS = ("as a run", "each at once")
EPOCHS = 50
SECONDS_OF_AN_EPOCH = 0.4
EXPERIMENT, SWEEP = "store", 32 * "0"
# Forked, because importing MLflow 32 times would take longer than everything else.
_CONTEXT = multiprocessing.get_context("fork")


def real_epoch() -> Generator[dict[str, float], Any, None]:
    """The generator of a process: trains the first epoch of the default configuration, and yields its metrics."""
    from seqadd.config import composition
    from seqadd.models import architectures
    from seqadd.system import tensorflow_setup
    from seqadd.training import loop
    from seqadd.training.dataset import make_dataset

    config = composition.compose_selection([]).columns[0].config
    tensorflow_setup.use_threads(config.threads)
    data = make_dataset(config)
    lengths = data.train_questions.shape[1], data.train_answers.shape[1]
    model = architectures.build_model(config, *lengths, len(data.alphabet))
    yield next(loop.train(model, loop.make_optimizer(model, config), data, config, []))


def write(where: Tracking, way: str, number: int, epochs: list[dict[str, float]], begin: Barrier, said: Any) -> None:
    """The main function of a writer: sends the seconds to begin, and those that each epoch waited for the store."""
    begin.wait()
    begun = time.perf_counter()
    store = open_store_with_retry(where, print)
    held_up = []
    with (
        store.run_directory(f"writer {number}").lock(print) as run_dir,
        # With a parent run, like a job of a sweep, which retries while a store is busy.
        recording.record(
            store, run_dir, f"writer {number}", params={"writer": number}, tags={}, parent_run_id=SWEEP
        ) as run,
    ):
        to_begin = time.perf_counter() - begun
        for row in epochs:
            if way == "as a run":
                time.sleep(SECONDS_OF_AN_EPOCH)
            start = time.perf_counter()
            if way == "as a run":
                run.log_epoch(row)
            else:
                store.log_epochs(run.run_id, [(row, int(1000 * time.time()))])
            held_up.append(time.perf_counter() - start)
    said.put((run.run_id, to_begin, held_up))


def measure(where: Tracking, database: str, way: str, writers: int, epochs: list[dict[str, float]]) -> dict[str, Any]:
    """Runs several writers at once; returns the columns of their results.

    Raises:
        WorkerFailed: when a writer fails, or the store lacks a value of an epoch afterwards.
    """
    begin, said = _CONTEXT.Barrier(writers), _CONTEXT.Queue()
    processes = [
        _CONTEXT.Process(target=write, args=(where, way, number, epochs, begin, said), daemon=True)
        for number in range(writers)
    ]
    start = time.perf_counter()
    for process in processes:
        process.start()
    answers: list[tuple[str, float, list[float]]] = []
    while len(answers) < writers:
        if not said.empty():
            answers.append(said.get())
        elif any(process.exitcode for process in processes):
            raise bench.WorkerFailed(f"one of {writers} writers failed: see above")
        time.sleep(0.02)
    for process in processes:
        process.join()
    in_all = time.perf_counter() - start
    logged = sorted((name, row["epoch"], row[name]) for row in epochs for name in row if name != "epoch")
    query = sqlalchemy.text("select key, step, value from metrics where run_uuid = :run order by key, step")
    with sqlalchemy.create_engine(database, poolclass=sqlalchemy.NullPool).connect() as connection:
        for run_id, _, _ in answers:
            if [tuple(row) for row in connection.execute(query, {"run": run_id})] != logged:
                raise bench.WorkerFailed(f"run {run_id}: the store has other values than were logged")
    held_up = sorted(seconds for _, _, each in answers for seconds in each)
    return {
        "seconds_per_epoch": round(statistics.mean(held_up), 5),
        "seconds_median": round(statistics.median(held_up), 5),
        "seconds_max": round(held_up[-1], 3),
        "seconds_to_begin_max": round(max(to_begin for _, to_begin, _ in answers), 2),
        "seconds_in_all": round(in_all, 1),
        "epochs": len(held_up),
        "metrics": len(epochs[0]) - 1,
    }


def main() -> None:
    """Command line of ``python benchmarks/store.py``."""
    parser = argparse.ArgumentParser(description="Seconds per logged epoch, SQLite beside a server with PostgreSQL.")
    parser.add_argument("--quick", action="store_true", help="few epochs, to see whether everything runs")
    bench.add_out(parser)
    chosen = parser.parse_args()
    out = bench.out_folder(chosen)
    out.mkdir(parents=True, exist_ok=True)
    n_epochs = 5 if chosen.quick else EPOCHS
    header = bench.header(PACKAGES)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary, bench.Steps(2 * len(WAYS) * sum(WRITERS) + 20) as steps:
        folder = Path(temporary)
        folder.chmod(0o711)  # PostgreSQL runs as another user
        steps.begin("one real epoch")
        worker = bench.Worker(real_epoch, threads=None, log=folder / "log.txt")
        first = worker.answer()
        worker.end()
        # Each epoch has other values, so that a value read back can only be that epoch's.
        epochs = [{**{name: value / n for name, value in first.items()}, "epoch": n} for n in range(1, n_epochs + 1)]
        steps.done(10)
        steps.begin("starting the server")
        try:
            postgres = services.start_postgres(folder)
            uri = services.start_mlflow(folder, postgres, auth=True)
            os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
            os.environ["MLFLOW_TRACKING_PASSWORD"] = services.admin_password(folder)
            steps.done(10)
            sqlite = f"sqlite:///{folder}/mlflow.db"
            stores = {"SQLite": (sqlite, sqlite), "server, PostgreSQL, password": (uri, postgres)}
            for way in WAYS:
                for writers in WRITERS:
                    for name, (its_uri, database) in stores.items():
                        steps.begin(f"{name}, {way}, {writers} at once")
                        where = Tracking(its_uri, EXPERIMENT, None, str(folder / f"unfinished {way} {writers} {name}"))
                        measured = measure(where, database, way, writers, epochs)
                        rows.append({"store": name, "way": way, "writers": writers, **measured})
                        steps.notify(", ".join(f"{column} {value}" for column, value in rows[-1].items()))
                        steps.done(writers)
        finally:
            services.stop_mlflow(folder)
            services.stop_postgres(folder)
    bench.write_csv(out / "store.csv", rows)
    columns = ["store", "way", "writers", "s per epoch", "longest", "to begin, longest", "all together"]
    table = [
        [
            row["store"],
            row["way"],
            str(row["writers"]),
            f"{row['seconds_per_epoch']:.3f}",
            f"{row['seconds_max']:.2f}",
            f"{row['seconds_to_begin_max']:.2f}",
            f"{row['seconds_in_all']:.1f}",
        ]
        for row in rows
    ]
    print("\n".join([*header, "", *bench.markdown_table(columns, table)]))


if __name__ == "__main__":
    main()  # not within seqadd.cli.entry.command, which would end the process while it stops the server
