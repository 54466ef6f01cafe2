"""Every error that a command answers with one line, and the exit code that goes with it."""

from __future__ import annotations

import re
import signal


def redact_credentials(text: str) -> str:
    """A text in which addresses have no user and password left: ``http://ann:secret@host`` is ``http://***@host``."""
    # Up to the last @ before a blank: a password may itself hold a slash or an @.
    return re.sub(r"(\w\\?://)[^\s]*@", r"\1***@", text)


class SeqaddError(Exception):
    """An error of this project's own. Its text is one line that says all there is to say.

    Attributes:
        exit_code: of the command that it ends: 1 failed, 2 refused before work began, 3 done but not recorded.
    """

    exit_code = 1


class ConfigError(SeqaddError, ValueError):
    """A configuration that cannot be run: key, value, limit and, where there is one, the remedy."""

    exit_code = 2


class StoreNotFound(ConfigError):
    """There is no such store, or no such experiment in it."""


class StoreUnavailable(ConfigError):
    """The store does not respond, is locked, or lies on a disk that is gone; it may respond later."""


class RunNotFound(ConfigError):
    """There is no such run, or it has nothing that could be looked at."""


class CannotWrite(SeqaddError, OSError):
    """A file cannot be written; what was there before is as it was."""


class StoreMoved(SeqaddError, OSError):
    """The store was moved: artifacts would be written where it was before."""


class CheckpointError(SeqaddError, RuntimeError):
    """A checkpoint that cannot be used."""


class TrainingDiverged(SeqaddError, RuntimeError):
    """The loss is no longer a finite number, so no later epoch can mean anything."""


class JobsFailed(SeqaddError, RuntimeError):
    """Some jobs of a sweep did not finish; the others did."""


class NotReproduced(SeqaddError, RuntimeError):
    """A committed result does not follow from the store or the code, or runs are missing."""


class DeliveryPending(SeqaddError, RuntimeError):
    """The work is done, but not all updates are delivered to the store; the next command delivers the rest."""

    exit_code = 3


class Pruned(SeqaddError):
    """The pruner stopped this run's trial.

    Attributes:
        run_id: of the run.
        epoch: after which it stopped.
    """

    def __init__(self, text: str, run_id: str, epoch: int) -> None:
        super().__init__(text)
        self.run_id = run_id
        self.epoch = epoch


class Interrupted(BaseException):
    """A signal asked this process to stop. Like KeyboardInterrupt no Exception, so no code takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number  # 130 for Ctrl-C, 143 for SIGTERM, as in shells
