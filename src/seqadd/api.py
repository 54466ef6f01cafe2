"""Experiments from Python, for notebooks and scripts: trains runs in processes, reads curves, asks models, compares.

The words are those of the command line: ``experiment(cell="gru", epochs=15, seed=range(3))`` trains what
``python -m seqadd.run -m cell=gru epochs=15 'seed=range(3)'`` does, records it in the same store, and trains nothing
twice. Errors are the command line's, in one line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqadd.claims import paired
from seqadd.cli.code_option import take_code
from seqadd.cli.console import print_line
from seqadd.comparison.curves import find_runs, learning_curves
from seqadd.comparison.table import ARTICLE_METRICS, default_metrics, read_published, summarize
from seqadd.config.composition import Selection, compose_selection, load_config
from seqadd.config.schema import Config, override_text
from seqadd.config.validation import check_machine
from seqadd.errors import ConfigError
from seqadd.launch.own_parts import prepare
from seqadd.launch.sweep import run_sweep
from seqadd.system.files import resource_dir, temporary_folder
from seqadd.system.library_log import capture_logs
from seqadd.system.signals import interrupt_as_exception
from seqadd.tracking.run_filter import ALL_RUNS
from seqadd.training.dataset import make_dataset

if TYPE_CHECKING:
    import keras
    import pandas as pd
    from matplotlib.figure import Figure

    from seqadd.evaluation.trained_run import TrainedRun
    from seqadd.tracking.store import RunRecord

Code = str | Path | Iterable[str | Path]


@dataclass(frozen=True)
class Run:
    """A recorded run.

    Attributes:
        run_id: of the record in the store.
        config: the run's configuration.
        code: the files of the parts of your own that it was made with.

    Example:
        >>> from seqadd import runs
        >>> run = runs(cell="lstm")[0]  # doctest: +SKIP
        >>> run.answer("535+61")["correct"].all()  # doctest: +SKIP
        True
    """

    run_id: str
    config: Config
    code: tuple[str, ...] = ()

    def __repr__(self) -> str:
        config = self.config
        return f"Run({self.run_id!r}, {config.model_name}, seed {config.seed}, {config.epochs} epochs)"

    def load(self, epoch: int | None = None) -> TrainedRun:
        """Returns the run with its model, its data set and its history.

        Args:
            epoch: whose weights the model has, if the run keeps them; None for the last.

        Raises:
            RunNotFound: when the run is not finished, or has no such weights.
        """
        from seqadd.evaluation.run_selection import load_run

        _declare(self.code)
        where = self.config.tracking
        words = [f"run={self.run_id}", f"tracking.uri={where.uri}", f"tracking.experiment={where.experiment}"]
        return load_run(*words, *([] if epoch is None else [f"epoch={epoch}"]))

    def model(self, epoch: int | None = None) -> keras.Model:
        """Returns the trained model; ``epoch`` as for ``load``."""
        return self.load(epoch).model

    def answer(self, *questions: str, beam: int = 1) -> pd.DataFrame:
        """Asks the model.

        Args:
            questions: as people write them, ``535+61``.
            beam: width of the beam search, for a model that reads its own answer.

        Returns:
            A row for each question: ``question``, ``answer``, ``right_answer``, ``correct`` and ``p``, the probability
            that the model gives to its answer.

        Raises:
            ConfigError: for a text that is no question of the run's task.
        """
        import pandas as pd

        from seqadd.answer import answers, check_options

        run = self.load()
        check_options(run, None if beam == 1 else beam, None)
        try:
            asked = [run.task.read(question) for question in questions]
        except ValueError as error:
            raise ConfigError(str(error)) from error
        found = answers(run, asked, None if beam == 1 else beam)
        right = [run.task.solve(question) for question in asked]
        return pd.DataFrame(
            {
                "question": asked,
                "answer": [text for text, _ in found],
                "right_answer": right,
                "correct": [text == answer for (text, _), answer in zip(found, right, strict=True)],
                "p": [p for _, p in found],
            }
        )

    def inspect(self, question: str, epoch: int | None = None) -> dict[str, Figure]:
        """Draws what a question becomes inside the model, as ``python -m seqadd.inspect`` does.

        Args:
            question: as people write it, ``535+61``.
            epoch: as for ``load``.

        Returns:
            Pictures by name, which a notebook shows. ``layers`` is the output of each layer; a recurrent layer's name
            is its gates and states, step by step.

        Raises:
            ConfigError: for a text that is no question of the run's task.
        """
        from seqadd.inspection import analysis, html_report
        from seqadd.inspection.trace import trace

        run = self.load(epoch)
        (traced,) = trace(run.model, analysis.ask_all(run, [question]))
        return html_report.question_figures(traced, run.seen_in_training(traced.question.text))


def questions(*, code: Code = (), **keys: Any) -> pd.DataFrame:
    """Draws the questions of a run: those that it is trained on, and those that are held out. Trains nothing.

    Args:
        code: as for ``experiment``.
        keys: as for ``experiment``, each with one value; ``seed`` and the task decide what is drawn.

    Returns:
        A row for each question, with the columns ``question`` and ``answer`` as people write them, ``read`` and
        ``written`` as the model does, and ``held_out``.

    Raises:
        ConfigError: for a configuration that cannot be run.

    Example:
        >>> questions(task={"n_questions": 1000}).loc[0, :"written"].tolist()
        ['64+38', '102', '  83+46', '102 ']
    """
    import pandas as pd

    from seqadd.evaluation.questions import notation_of

    _declare(code)
    config = load_config(*(f"{key}={value}" for key, value in _flat(keys).items()))
    data, notation = make_dataset(config), notation_of(config)
    frames = []
    for asked, answers, held_out in (
        (data.train_questions, data.train_answers, False),
        (data.val_questions, data.val_answers, True),
    ):
        texts = {
            "question": notation.read_questions(asked),
            "answer": notation.read_answers(answers),
            "read": notation.vocabulary.decode(asked),
            "written": notation.vocabulary.decode(answers),
        }
        frames.append(pd.DataFrame({**texts, "held_out": held_out}))
    return pd.concat(frames, ignore_index=True)


def experiment(seed: Iterable[int] | int = 0, *, code: Code = (), jobs: int | None = None, **keys: Any) -> list[Run]:
    """Trains runs in processes of their own, with their progress; finished ones are not trained again.

    Args:
        seed: one seed, or several.
        code: files with parts of your own, as ``--code``.
        jobs: how many run at the same time; None for as many as processors and memory allow.
        keys: the configuration: ``cell="gru"``, ``epochs=15``, ``task={"digits": 2}``; a list of values, or a range,
            is swept over.

    Returns:
        The runs of every combination of values, in the order of the sweep.

    Raises:
        ConfigError: for what cannot be run, before anything is recorded.
        JobsFailed: after all jobs have ended, if some failed.
        KeyboardInterrupt: on Ctrl-C, after all jobs were stopped; the same call resumes.

    Example:
        >>> runs = experiment(cell="dense", architecture="aligned", epochs=2, seed=range(2), batch_size=64,
        ...                   task={"n_questions": 2000})  # doctest: +SKIP
        >>> [run.config.seed for run in runs]  # doctest: +SKIP
        [0, 1]
    """
    if jobs is not None and not (isinstance(jobs, int) and jobs >= 1):
        raise ConfigError(f"jobs={jobs}: must be an integer of at least 1, or None")
    files = _declare(code)
    keys = _flat({**keys, "seed": seed})
    with interrupt_as_exception(), capture_logs(), temporary_folder():
        words = list(_combinations(keys))
        configs = prepare([load_config(*job) for job in words], print_line)
        for config in configs:
            check_machine(config)
        labels = _labels(words)

        def launch(missing: list[int], parent_run_id: str) -> list[str]:
            from seqadd.launch.local import run_all

            for index in missing:
                configs[index].tracking.parent_run_id = parent_run_id
                configs[index].tracking.label = labels[index]
            return run_all([labels[index] for index in missing], [configs[index] for index in missing], jobs)

        typed = " ".join(f"{key}={value}" for key, value in sorted(keys.items()))
        ids = run_sweep(f"experiment {typed}", typed, {"overrides": typed, "jobs": len(words)}, labels, configs, launch)
    return [Run(run_id, config, files) for run_id, config in zip(ids, configs, strict=True)]


def runs(*, code: Code = (), **keys: Any) -> list[Run]:
    """Returns the finished runs that are recorded of a configuration, of every seed unless it names some.

    Args:
        code: as for ``experiment``.
        keys: as for ``experiment``; ``seed`` selects seeds. Of several runs of a seed the longest counts.

    Returns:
        The runs, condition by condition, in the order of their seeds.

    Raises:
        ConfigError: for a configuration that cannot be run, and when there is no store.

    Example:
        >>> [run.config.seed for run in runs(cell="lstm", seed=range(3))]  # doctest: +SKIP
        [0, 1, 2]
    """
    files = _declare(code)
    from seqadd.evaluation.recorded_config import config_of

    wanted = _flat({"epochs": keys.pop("epochs", ())})["epochs"].split(",")
    selection = _selection(keys)
    found = []
    with capture_logs():
        for here, column in zip(find_runs(selection, ALL_RUNS), selection.columns, strict=True):
            longest: dict[int, RunRecord] = {}
            for run in here.runs.finished:  # oldest first: of equally long runs the newest counts
                seed, n = int(run.params["seed"]), int(run.params["epochs"])
                counts = selection.seeds is None or seed in selection.seeds
                if counts and (wanted == [""] or str(n) in wanted) and n >= _epochs(longest.get(seed)):
                    longest[seed] = run
            for _, run in sorted(longest.items()):
                config = config_of(run)
                config.tracking = column.config.tracking
                found.append(Run(run.run_id, config, files))
    return found


def _epochs(run: RunRecord | None) -> int:
    return 0 if run is None else int(run.params["epochs"])


def curves(runs: Iterable[Run], *metrics: str) -> pd.DataFrame:
    """Returns the learning curves of runs.

    Args:
        runs: as ``experiment`` or ``runs`` returns them.
        metrics: their names; ``acc`` and ``val_acc`` by default.

    Returns:
        A row for each run and epoch. Its columns are the keys that differ between the runs, ``seed``, ``epoch`` (from
        1), and the metrics; NaN where a run has none.

    Raises:
        ConfigError: without any run.

    Example:
        >>> curves(runs(cell="lstm,gru"), "val_acc").columns.tolist()  # doctest: +SKIP
        ['cell', 'seed', 'epoch', 'val_acc']
    """
    import pandas as pd

    from seqadd.tracking import connection

    names = list(metrics or ARTICLE_METRICS)
    every = list(runs)
    if not every:
        raise ConfigError("runs: must be at least one; seqadd.runs() returns those that are recorded")
    flat = [run.config.result_keys() for run in every]
    differing = [key for key in flat[0] if key not in ("seed", "epochs") and len({str(of.get(key)) for of in flat}) > 1]
    frames = []
    with capture_logs():
        for run, keys in zip(every, flat, strict=True):
            store = connection.connect(run.config.tracking, print_line, create=False)
            histories = {name: pd.Series(store.history(run.run_id, name)) for name in names}
            frame = pd.DataFrame(histories).rename_axis("epoch").reset_index()
            frame.insert(0, "seed", run.config.seed)
            for key in reversed(differing):
                frame.insert(0, key, override_text(keys[key]))
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def compare(
    *overrides: str, epochs: tuple[int, ...] = (200,), against: str | None = None, code: Code = ()
) -> pd.DataFrame:
    """Compares recorded conditions, as ``python -m seqadd.table`` does; ``to_latex()`` and ``to_csv()`` are pandas'.

    Args:
        overrides: as for the command: ``"cell=lstm,gru"``; each value is a condition.
        epochs: the rows.
        against: the condition that the others are compared with, seed by seed: ``"cell=gru"``.
        code: as for ``experiment``.

    Returns:
        Without ``against`` a row for each condition, number of epochs and metric, with mean, spread and published
        number; with it the paired differences, their 95 % interval and verdict (docs/verdicts.md).

    Raises:
        ConfigError: for a condition that cannot be run, and when there is no store.

    Example:
        >>> compare("cell=lstm,gru", epochs=(50,), against="cell=gru")["verdict"].tolist()  # doctest: +SKIP
        ['undecided', 'above']
    """
    _declare(code)
    selection = compose_selection(overrides)
    with capture_logs():
        metrics = default_metrics(selection)
        read = learning_curves(find_runs(selection, ALL_RUNS), selection, metrics, epochs)
    if against is not None:
        return paired.compare(read, selection, against.split(), epochs).drop(columns="column")
    published = read_published(resource_dir("experiments") / "cells" / "published.csv")
    return summarize(read, selection, published, epochs, metrics).drop(columns="column")


def _declare(code: Code) -> tuple[str, ...]:
    files = tuple(str(file) for file in ([code] if isinstance(code, str | Path) else code))
    take_code([f"--code={file}" for file in files])
    return files


def _flat(keys: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The keys joined by dots, with the values as overrides have them; several values joined by commas."""
    found: dict[str, str] = {}
    for key, value in keys.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Iterable) and not isinstance(value, str):
            found[f"{prefix}{key}"] = ",".join(override_text(each) for each in value)
        else:
            found[f"{prefix}{key}"] = override_text(value)
    return found


def _combinations(flat: Mapping[str, str]) -> Iterable[list[str]]:
    return (
        [f"{key}={value}" for key, value in zip(flat, values, strict=True)]
        for values in itertools.product(*(text.split(",") for text in flat.values()))
    )


def _labels(words: list[list[str]]) -> list[str]:
    """The words of each job that not all jobs share."""
    shared = set.intersection(*map(set, words)) if len(words) > 1 else set()
    return [" ".join(word for word in job if word not in shared) or "defaults" for job in words]


def _selection(keys: Mapping[str, Any]) -> Selection:
    return compose_selection([f"{key}={value}" for key, value in _flat(keys).items()])
