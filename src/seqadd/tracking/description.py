"""The description of a run on MLflow's page: what the run is, how it ended and why, and where it belongs.

MLflow shows the tag ``mlflow.note.content`` as Markdown. A person may edit it there: seqadd replaces only a description
that it wrote itself, which it recognizes by the digest in a second tag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from seqadd.config.schema import Config
from seqadd.tracking.pages import TRAINING

#: The tag with the digest of the description that seqadd wrote.
DIGEST = "description_digest"
RUNNING = "Running."

_LONGEST = 5000  # characters; MLflow's limit is 5000 on some servers, 8000 on others
_SHOWN = ("val_acc", "val_exact_match", "loss")


@dataclass
class Description:
    """The parts of a description; each is a line, ``below`` further Markdown.

    Attributes:
        what: what the run is.
        how: how it ended and why.
        where: the sweep or search that it belongs to, or its command.
    """

    what: str
    where: str = ""
    how: str = RUNNING
    below: str = ""

    def tags(self) -> dict[str, str]:
        """Returns the tags that hold the description."""
        return _as_tags("\n\n".join(filter(None, [self.what, self.how, self.where, self.below])))


def of_training(config: Config) -> str:
    """Returns what a run is, in a line."""
    units = " + ".join(str(each) for each in (config.encoder_units, config.decoder_units) if each is not None)
    cell = f"{config.cell} in the" if config.cell is not None else "The"
    return (
        f"{cell} architecture `{config.architecture}`{f', {units} units' if units else ''}; {config.epochs} epochs of "
        f"{task_title(config)}; seed {config.seed}, learning rate {config.learning_rate}, batch size "
        f"{config.batch_size}, {config.loss} loss, layers as in {config.era}."
    )


def task_title(config: Config) -> str:
    """Returns what a run learns: ``3-digit sums``, or the name of another task."""
    return f"{config.task.digits}-digit sums" if config.task.name is None else config.task.name


def where_it_belongs(config: Config, experiment_id: str, command: str) -> str:
    """Returns the line that names a run's sweep, its search, or its command."""
    parent, trial = config.tracking.parent_run_id, config.tracking.trial
    if parent is None:
        return f"Command: {_code(command)}"
    if trial is not None:
        return f"Trial {trial} of {link('this search', experiment_id, parent)}."
    job = f"Job {_code(config.tracking.label)}" if config.tracking.label else "Job"
    return f"{job} of {link('this sweep', experiment_id, parent)}."


def how_it_ended(status: str, last: Mapping[str, float], why: str = "") -> str:
    """Returns how a run ended, in a line.

    Args:
        status: FINISHED, FAILED or KILLED.
        last: the metrics of its last epoch, with the ``epoch`` itself; empty before the first.
        why: the reason of an early end.
    """
    when = f" after epoch {int(last['epoch'])}" if "loss" in last else ""  # a search counts its trials as epochs
    if status == "FINISHED":
        metrics = ", ".join(f"`{name}` {last[name]:.4f}" for name in _SHOWN if name in last)
        return f"Finished{when}: {metrics}." if metrics else f"Finished{when}."
    if why.startswith("pruned"):
        return f"P{why[1:]}. The search's pruner stopped it; that is no failure."
    reason = f": {_code(why)}" if why else ""
    if status == "KILLED":
        return f"Stopped{when}{reason}. The same command resumes it."
    return f"Failed{when}{reason}."


def with_ending(tags: Mapping[str, str], how: str) -> dict[str, str]:
    """Returns the tags of a run's description with another ending; none if it has no description of seqadd's."""
    return _with_part(tags, 1, how)


def with_where(tags: Mapping[str, str], where: str) -> dict[str, str]:
    """Returns the tags of a run's description with another line of where it belongs; none as in ``with_ending``."""
    return _with_part(tags, 2, where)


def _with_part(tags: Mapping[str, str], index: int, text: str) -> dict[str, str]:
    parts = tags.get(MLFLOW_RUN_NOTE, "").split("\n\n")
    if len(parts) <= index or not _is_ours(tags):
        return {}
    return _as_tags("\n\n".join([*parts[:index], text, *parts[index + 1 :]]))


def keep_edited(new: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Returns new tags of a run, without the description if a person has edited the present one."""
    if _is_ours(present):
        return dict(new)
    return {key: value for key, value in new.items() if key not in (MLFLOW_RUN_NOTE, DIGEST)}


def link(text: str, experiment_id: str, run_id: str) -> str:
    """Returns a link to a run's page, in Markdown; relative, so that it works on every server."""
    return f"[{text}](#/experiments/{experiment_id}/runs/{run_id}?{TRAINING})"


def _is_ours(tags: Mapping[str, str]) -> bool:
    note = tags.get(MLFLOW_RUN_NOTE)
    return note is None or _digest(note) == tags.get(DIGEST)


def _as_tags(text: str) -> dict[str, str]:
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 4].rpartition("\n")[0] + "\n..."
    return {MLFLOW_RUN_NOTE: text, DIGEST: _digest(text)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code(text: str) -> str:
    """Returns a text as code in Markdown, which renders none of its characters."""
    return f"`{text.replace('`', chr(39))}`"
