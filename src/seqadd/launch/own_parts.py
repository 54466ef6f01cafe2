"""Own parts before a run or a sweep: their files are copied, and each model is checked in a process of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqadd.config.messages import short_line
from seqadd.config.part_sources import read_sources
from seqadd.config.parts import Measured, remember_prepared
from seqadd.config.schema import Config
from seqadd.config.validation import check_limits
from seqadd.errors import CannotWrite, ConfigError, JobsFailed
from seqadd.launch.processes import process_context, start_process
from seqadd.system import status_line, tensorflow_setup
from seqadd.system.files import write_file
from seqadd.system.library_log import capture_logs
from seqadd.tracking.database import check_database
from seqadd.tracking.part_copies import copy_parts
from seqadd.training.dataset import data_digest, make_dataset
from seqadd.training.fingerprint import code_digest

if TYPE_CHECKING:
    from seqadd.launch.processes import Context, Process


def has_own_parts(config: Config) -> bool:
    """Whether a configuration has parts that must be checked; those of the package are not."""
    return any(not part.built_in for part in config.parts.values())


def prepare(configs: Sequence[Config], notify: Callable[[str], None], *, check: bool = True) -> list[Config]:
    """Copies the files of own parts, and checks each model once, before anything is recorded.

    Configurations that are composed later get the same copies and sizes.

    Args:
        configs: of the runs; those without own parts are returned as they are.
        notify: receives a line for each model before it is checked.
        check: whether the models are checked here; on a login node their jobs do it.

    Raises:
        ConfigError: in one line that begins with file and line of the part.
        JobsFailed: when no process can be started.
    """
    found: dict[str, Config] = {}
    for config in configs:
        key = config.model_hash()
        if config.parts and not has_own_parts(config) and config.task.name is not None and key not in found:
            make_dataset(config)  # may have fewer questions than are asked for
            found[key] = config
        if has_own_parts(config) and key not in found:
            check_database(config.tracking)
            copied = copy_parts(config)
            found[key] = _checked(copied, notify) if check else copied
            remember_prepared(key, found[key].parts.values())
    return [
        dataclasses.replace(config, parts=dict(found[key].parts)) if (key := config.model_hash()) in found else config
        for config in configs
    ]


def check_unless_checked(config: Config) -> None:
    """Checks the own parts of a job, if nobody has: on a cluster's node, or of a search's trial; raises as ``prepare``.

    The job's own process must not build the model: TensorFlow's threads could not be set any more.
    """
    if has_own_parts(config) and all(part.measured is None for part in config.parts.values()):
        _answer_of(_check, config, get_context("spawn"))


def _checked(config: Config, notify: Callable[[str], None]) -> Config:
    """Checks the model of a configuration in a process of its own, or takes what an earlier check of it has found."""
    part = next(part for part in config.parts.values() if not part.built_in)
    versions = f"{version('tensorflow')} {version('keras')} {code_digest()} {config.model_hash()}"
    file = Path(part.path).parent / f"checked-{hashlib.sha256(versions.encode()).hexdigest()[:16]}.json"
    try:
        measured = Measured(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # never checked, or the file is damaged
        measured = check_in_a_process(config, notify)
        with suppress(CannotWrite):
            write_file(file, json.dumps(dataclasses.asdict(measured)))
    return dataclasses.replace(
        config, parts={kind: dataclasses.replace(part, measured=measured) for kind, part in config.parts.items()}
    )


def check_in_a_process(config: Config, notify: Callable[[str], None]) -> Measured:
    """Checks the model of a configuration in a process of its own; raises as ``prepare``."""
    notify("checking " + " ".join(part.choice for part in config.parts.values()))
    measured = _answer_of(_check, config, process_context(notify))
    assert isinstance(measured, Measured)
    return measured


def time_epoch(config: Config, notify: Callable[[str], None]) -> float:
    """Trains two epochs of a configuration in a process of its own; returns the seconds of the second one."""
    notify(f"training two epochs of {config.model_name}")
    return float(_answer_of(_time, dataclasses.replace(config, epochs=2), process_context(notify)))


@contextmanager
def data_digests() -> Iterator[Callable[[Config], str]]:
    """A context manager that returns a function for the data digest of a configuration.

    The files of own tasks run in one process of its own, which is started when the first of them is asked for: a sweep
    must go on whatever such a file does to its process. It is a fresh process, because the fork server that other
    processes come from imports TensorFlow, which data does not need.

    The function raises as ``prepare``.
    """
    started: list[tuple[Process, Connection]] = []

    def digest(config: Config) -> str:
        task = config.part("task")
        if task is None or task.built_in:
            return data_digest(config)
        if not started:
            status_line.clear()  # the file may print
            started.append(start_process(get_context("spawn"), _digest, (), "seqadd data"))
        process, answers = started[0]
        with suppress(OSError):  # it has ended, as there is no answer either
            answers.send(config)
        return str(_answer(process, answers)[0])

    try:
        yield digest
    except BaseException:  # as in _answer_of
        for process, _ in started:
            process.kill()
        raise
    for process, answers in started:
        answers.close()
        process.join()


def _answer_of(work: Callable[..., None], config: Config, context: Context) -> Any:
    """Calls a function of this module in a process of its own, and returns its answer; raises as ``_answer``."""
    check_limits()
    process, answers = start_process(context, work, (config,), "seqadd own parts")
    try:
        answer = _answer(process, answers)
        process.join()
    except BaseException:  # a signal: own code may run for ever, and this process alone can end it
        process.kill()
        raise
    return answer


def _answer(process: Process, answers: Connection) -> Any:
    """Returns the next answer of a process.

    Raises:
        ConfigError: with the text that the process answers.
        JobsFailed: when it ends without an answer.
    """
    try:
        answer = answers.recv()
    except (EOFError, OSError) as error:
        process.join()
        raise JobsFailed(f"the process that checks own parts ended with exit code {process.exitcode}") from error
    if isinstance(answer, str):
        raise ConfigError(answer)
    return answer


def _check(config: Config, connection: Connection) -> None:
    """The main function of the process that checks."""

    def check() -> Measured:
        with tensorflow_setup.quiet_import():
            from seqadd.evaluation.part_check import check_parts

        return check_parts(config)

    _send(connection, check)


def _time(config: Config, connection: Connection) -> None:
    """The main function of the process that times an epoch."""

    def train() -> float:
        from seqadd.training.checkpoint import Start
        from seqadd.training.session import TrainingSession

        session = TrainingSession(config, make_dataset(config), Start({}))
        session.fit([])
        return session.history[-1]["epoch_seconds"]

    _send(connection, train)


def _digest(connection: Connection) -> None:
    """The main function of the process that draws the data of own tasks; it ends with the sweep's end of the pipe."""

    def digest() -> tuple[str]:
        if any(b"keras" in text for text in read_sources(Path(config.parts["task"].path)).values()):
            with tensorflow_setup.quiet_import():  # before the file imports it, whose own messages must be seen
                import seqadd.evaluation.part_check  # noqa: F401
        return (data_digest(config),)

    with suppress(EOFError, OSError):
        while True:
            config: Config = connection.recv()
            _send(connection, digest)


def _send(connection: Connection, work: Callable[[], Any]) -> None:
    """Sends what a function returns, or the message of its error; what own code prints is printed before."""
    with capture_logs():
        try:
            answer = work()
        except Exception as error:  # own code can raise anything
            answer = short_line(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # it is closed, or its reader is gone
            stream.flush()
    with suppress(OSError):
        connection.send(answer)
