"""The task and the data set of a run, from its configuration."""

from __future__ import annotations

import dataclasses

import numpy as np

from seqadd.config.schema import Config
from seqadd.data import curriculum, drawing
from seqadd.data.addition import Addition
from seqadd.data.drawing import Dataset, Task
from seqadd.data.text_task import TextTask
from seqadd.errors import ConfigError
from seqadd.models.parts import error_in, load_part


def task_of(config: Config) -> Task:
    """The task of a run; the file of an own one is loaded.

    Raises:
        ConfigError: for a file that cannot be loaded.
    """
    part = config.part("task")
    if part is None:
        assert config.task.digits is not None
        return Addition(config.task.digits, bool(config.task.equal_lengths), config.task.longest)
    registered = kind = load_part(part)
    try:
        if dataclasses.is_dataclass(kind):
            task = registered(**part.values)
        else:  # the constructor, if there is one, finds the values as the class's
            task = type(part.name, (registered,), dict(part.values))()
    except Exception as error:
        raise error_in(part, error) from error
    return TextTask(task, part.settings["characters"], part.where)


def lengths(config: Config, task: Task) -> tuple[int, int]:
    """Characters in a question and in an answer, padding included, for the models of a configuration.

    A model that ends its answers itself has room for the blank that ends the longest one; an aligned model writes as
    many characters as it reads.
    """
    question, answer = task.room()
    answer += config.ends_with_eos
    return (max(question, answer),) * 2 if config.architecture == "aligned" else (question, answer)


def make_dataset(config: Config) -> Dataset:
    """Draws the questions of a run.

    Raises:
        ConfigError: if a stage of the curriculum would have no sums of its length, for a mistake of an own task, and
            for an ``inspect.question`` that is no question of it.
    """
    task = task_of(config)
    if config.inspect.question is not None:
        try:
            task.read(config.inspect.question)
        except ValueError as error:
            raise ConfigError(f"inspect.{error}") from error
    data = drawing.make_dataset(
        task,
        n_questions=config.task.n_questions,
        held_out=config.task.held_out,
        lengths=lengths(config, task),
        reverse=config.reverse,
        reverse_answer=bool(config.reverse_answer),
        rng=np.random.default_rng(config.seed),
    )
    if config.curriculum is not None:
        assert config.task.digits is not None
        missing = curriculum.missing_length(data.train_digits, data.val_groups["digits"], config.task.digits)
        if missing is not None:
            raise ConfigError(
                f"curriculum={config.curriculum}: the sums of seed={config.seed} have none of {missing} digits to "
                f"learn, or none held out; raise task.n_questions={config.task.n_questions} or task.held_out"
            )
    return data


def data_digest(config: Config) -> str:
    """The digest of the data set of a run."""
    return make_dataset(config).digest()
