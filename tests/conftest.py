"""Shared by all tests: small configurations, and the command line without a new process."""

from __future__ import annotations

import atexit
import copy
import functools
import gc
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

# Tests run in parallel, one per core; none may use all cores. Set before numpy and TensorFlow are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A process that crashes prints a stack trace.
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

import fork_server
import pytest
import submitit  # noqa: F401 - whose import closes what others log to; with TensorFlow before it, pytest's own stream
from hydra import initialize_config_dir
from mlflow import MlflowClient
from mlflow.entities import Run
from sqlalchemy import event
from sqlalchemy.engine import Engine

from seqadd.claims import claim, loading
from seqadd.config.composition import Composer
from seqadd.config.schema import Config
from seqadd.system.files import resource_dir
from seqadd.system.signals import SIGNALS

# Tests must not record in the store of the user who runs them.
OF_MLFLOW = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
for variable in OF_MLFLOW:
    os.environ.pop(variable, None)


@event.listens_for(Engine, "connect")
def _do_not_wait_for_the_disk(connection: object, _: object) -> None:
    """No test cuts the power, so SQLite need not wait until the disk has each commit."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF").close()


# TensorFlow, MLflow and Hydra keep millions of objects; the garbage collector would spend a fifth of the time on them.
gc.freeze()
# A process that trains a dozen models, as only tests do, is warned that TensorFlow traces a program for each of them.
logging.getLogger("tensorflow").addFilter(lambda record: "triggered tf.function retracing" not in record.getMessage())
gc.set_threshold(100_000, 20, 20)

#: A run of seconds: 44 sums to train on in batches of 20, 20 and 4, narrow layers, few steps to compile.
SMALL = [
    "task.digits=1",
    "task.n_questions=55",
    "task.held_out=0.2",
    "batch_size=20",
    "encoder_units=6",
    "decoder_units=5",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--new-processes", action="store_true", help="run every command in a new Python, not in a forked one"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Starts one fork server for all of pytest-xdist's workers, which inherit its socket's path."""
    if config.option.new_processes:
        return
    if hasattr(config, "workerinput") or config.option.collectonly or sys.platform != "linux":
        return
    folder = Path(tempfile.mkdtemp())
    server = fork_server.start_server(folder)
    config.add_cleanup(lambda: shutil.rmtree(folder))
    config.add_cleanup(lambda: fork_server.stop_server(server))


CLONE = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "seqadd.run"]
#: For tests that do not need XLA, which takes seconds to compile a model.
WITHOUT_XLA = [*SMALL, "jit=false", "cell=simple_rnn"]
LONG = [*WITHOUT_XLA, "epochs=1000000"]


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs_of(folder: Path) -> list[Run]:
    client = client_of(folder)
    experiment = client.get_experiment_by_name("seqadd")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


@functools.cache
def _database() -> Path:
    from seqadd.tracking import connection

    path = Path(tempfile.mkdtemp()) / "mlflow.db"
    connection.make_database(path)
    atexit.register(shutil.rmtree, path.parent)
    return path


def quick_database(folder: Path) -> None:
    """Creates an empty store if there is none, as a copy: MLflow takes more than two seconds to create the tables."""
    if not (folder / "mlflow.db").exists():
        shutil.copy(_database(), folder / "mlflow.db")


def output_of(folder: Path, *arguments: str) -> str:
    """Returns the output of a command that must succeed."""
    quick_database(folder)
    done = fork_server.run([*COMMAND, *arguments], cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def epochs_of(folder: Path, run_id: str) -> list[int]:
    """Returns the epochs that the store has of a run, in the order of their delivery."""
    return [point.step for point in client_of(folder).get_metric_history(run_id, "loss")]


def start(folder: Path, *arguments: str) -> fork_server.Process | subprocess.Popen[str]:
    """Starts the command in its own process group, as a shell does."""
    quick_database(folder)
    return fork_server.start([*COMMAND, *arguments], cwd=folder, start_new_session=True)


def group_is_alive(group: int) -> bool:
    """Returns whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def processes_of(sweep: int) -> dict[str, list[int]]:
    """Returns the process IDs of a sweep's jobs, and of the process that they are forked from."""

    def children(pid: int) -> list[int]:
        """Returns the children that still run."""
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            pytest.skip("this system does not tell the children of a process")

    servers = [pid for pid in children(sweep) if "forkserver" in Path(f"/proc/{pid}/cmdline").read_text()]
    return {"servers": servers, "jobs": [job for server in servers for job in children(server)]}


def wait_for_lines(process: fork_server.Process | subprocess.Popen[str], wanted: str, n: int = 1) -> None:
    """Reads the output until ``n`` lines contain the text."""
    assert process.stdout is not None
    while n:
        line = process.stdout.readline()
        assert line, f"ended without saying {wanted!r}: {process.communicate()[1]}"
        n -= wanted in line


def becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Returns whether the condition becomes true within a number of seconds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def make_config(*overrides: str) -> Config:
    """Returns the checked configuration that ``python -m seqadd.run`` would run with these overrides."""
    return copy.deepcopy(_make_config(overrides, *(os.environ.get(variable) for variable in OF_MLFLOW)))


_COMPOSER = Composer()


@functools.cache
def _make_config(overrides: tuple[str, ...], *variables_that_it_reads: str | None) -> Config:
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        return _COMPOSER.compose(overrides)


@functools.cache  # Hydra takes seconds to compose them
def our_claims() -> tuple[claim.Claim, ...]:
    """Returns the claims of ``experiments/``, in their order."""
    return tuple(loading.read_all(resource_dir("experiments")))


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a new empty folder the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable:
    """Runs the ``main`` of a command with arguments in an empty folder; returns exit code, stdout and stderr."""
    import signal

    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def run_main(main: Callable[[], None], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seqadd", *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    yield run_main
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Declares the text of a file; afterwards nothing is declared."""

    from seqadd.config.part_schema import declare

    def declared(text: str) -> None:
        # A file is run once in a process, so each needs a name of its own.
        path = tmp_path / f"own_{abs(hash(text))}.py"
        path.write_text(text, encoding="utf-8")
        declare([path])

    yield declared
    declare([])


@pytest.fixture(scope="session")
def installed_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a new environment that has the built wheel and, by a path file, the libraries it needs.

    The wheel is built from the sdist, which has all files that the wheel needs, and no tests, which need more files.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = "from hatchling import build; import sys; getattr(build, sys.argv[1])(sys.argv[2])"
    sdist = [sys.executable, "-c", build, "build_sdist", str(folder)]
    subprocess.run(sdist, cwd=CLONE, check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder, filter="data")
    (sources,) = folder.glob("seqadd-*/")
    assert not (sources / "tests").exists()
    wheel_of_it = [sys.executable, "-c", build, "build_wheel", str(folder)]
    subprocess.run(wheel_of_it, cwd=sources, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "env" / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    # Python ignores path files in these folders, so the clone's editable install is not importable.
    (site / "libraries.pth").write_text("\n".join(libraries))
    return folder / "env" / "bin" / "python"
