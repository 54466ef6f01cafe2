"""The errors that a command reports in one line, each with its exit code."""

from __future__ import annotations

import re
import signal


def redact_credentials(text: str) -> str:
    """Replaces user and password in addresses: ``http://ann:secret@host`` becomes ``http://***@host``."""
    # Up to the last @ before a blank: a password may itself contain a slash or an @.
    return re.sub(r"(\w\\?://)[^\s]*@", r"\1***@", text)


class SeqaddError(Exception):
    """The base class of this project's errors. The message is one complete line.

    Attributes:
        exit_code: exit code of the command: 1 failed, 2 refused before work began, 3 done but not recorded.

    Example:
        >>> str(SeqaddError("epochs=0: must be at least 1")), SeqaddError.exit_code
        ('epochs=0: must be at least 1', 1)
    """

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What a notebook prints for an error that nobody handles; the name is IPython's."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(SeqaddError, ValueError):
    """A configuration cannot be run; the message gives key, value, limit and, if there is one, the remedy.

    Example:
        >>> isinstance(ConfigError("epochs=0: must be at least 1"), ValueError), ConfigError.exit_code
        (True, 2)
    """

    exit_code = 2


class PartNotDeclared(ConfigError):
    """A claim chooses a cell, an architecture or a task that no file of this command declares."""


class StoreNotFound(ConfigError):
    """The store does not exist, or does not contain the experiment."""


class StoreUnavailable(ConfigError):
    """The store does not respond, is locked, or is on a disk that is not mounted; it may respond later."""


class RunNotFound(ConfigError):
    """The run does not exist, or has nothing to inspect.

    Example:
        >>> issubclass(RunNotFound, ConfigError)
        True
    """


class CannotWrite(SeqaddError, OSError):
    """A file cannot be written; an existing file is unchanged."""


class StoreMoved(SeqaddError, OSError):
    """The store was moved: artifacts would be written to its old location."""


class CheckpointError(SeqaddError, RuntimeError):
    """A checkpoint that cannot be used."""


class TrainingDiverged(SeqaddError, RuntimeError):
    """The loss is no longer a finite number, so later epochs are meaningless."""


class JobsFailed(SeqaddError, RuntimeError):
    """Some jobs of a sweep did not finish; the others did.

    Attributes:
        failed: how many of them failed; the others were not started.
    """

    def __init__(self, message: str, *, failed: int = 0) -> None:
        super().__init__(message)
        self.failed = failed


class NotReproduced(SeqaddError, RuntimeError):
    """A committed result differs from what the store or the code gives, or runs are missing."""


class DeliveryPending(SeqaddError, RuntimeError):
    """The work is done, but not all updates are delivered to the store; the next command delivers the rest."""

    exit_code = 3


class Pruned(SeqaddError):
    """The pruner stopped this run's trial.

    Attributes:
        run_id: id of the run.
        epoch: the last epoch that was trained.
    """

    def __init__(self, text: str, run_id: str, epoch: int) -> None:
        super().__init__(text)
        self.run_id = run_id
        self.epoch = epoch


class Interrupted(BaseException):
    """A signal asked this process to stop. A BaseException, like KeyboardInterrupt: ``except Exception`` ignores it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number  # 130 for Ctrl-C, 143 for SIGTERM, as in shells


class Stopped(KeyboardInterrupt):
    """Ctrl-C ended a function of the Python API; the process goes on. A notebook prints one line, no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
