"""The end of a run or a sweep: the accuracy of each job, where it is recorded, and the commands that show it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence

from rich.table import Table

from seqadd.cli.console import SafeConsole, print_line
from seqadd.cli.layout import metric_text
from seqadd.config.parts import code_words
from seqadd.config.schema import GROUPS, Config, Tracking, known_result_keys
from seqadd.errors import redact_credentials
from seqadd.launch.sweep_page import JobRow

#: The most jobs in the table of a sweep; of more, those that have not finished, and those with the greatest val_acc.
MOST_ROWS = 40
# The columns of that table.
_METRICS = {"loss": "loss", "acc": "acc", "val_acc": "val_acc", "val_exact_match": "exact match"}


def print_run(config: Config, run_id: str, reached: Mapping[str, float], pages: Sequence[str]) -> None:
    """Prints what a run has reached, where it is recorded and the commands that show it.

    Args:
        config: of the run.
        run_id: its ID.
        reached: the metrics after its last epoch; empty if it was finished already.
        pages: lines with the addresses of its pages in MLflow.
    """
    if "val_exact_match" in reached:
        reached_texts = (f"{name} {metric_text(reached[name])}" for name in ("val_acc", "val_exact_match"))
        print_line(f"held-out {config.noun}: {', '.join(reached_texts)}")
    print_line(f"run {run_id}, experiment {config.tracking.experiment}")
    for line in pages:
        print_line(line)
    words = _words(f"run={run_id}", tracking=config.tracking)
    example = " 12+7" if config.task.name is None else ""  # without one, answer asks for one and gives an example
    _print_commands(
        {"look inside": f"python -m seqadd.inspect {words}", "ask it": f"python -m seqadd.answer {words}{example}"}
    )


def print_sweep(
    rows: Sequence[JobRow], configs: Sequence[Config], parent_run_id: str | None, overrides: Sequence[str]
) -> None:
    """Prints the accuracy of each job of a sweep, where it is recorded and the commands that show it.

    Args:
        rows: the jobs, see ``sweep_page.job_rows``.
        configs: the configuration of each job.
        parent_run_id: the sweep's own run; None if all jobs were finished already.
        overrides: of the whole sweep, as the user typed them.
    """
    tracking = configs[0].tracking
    finished = (row for row in rows if row.counts and "val_acc" in row.metrics)
    best = sorted(finished, key=lambda row: -row.metrics["val_acc"])
    left_out = {id(row) for row in best[MOST_ROWS:]}
    shown = [row for row in rows if id(row) not in left_out][:MOST_ROWS]
    _print_table([[row.label, *_values(row), "" if row.counts else row.state] for row in shown])
    if len(shown) < len(rows):
        n = len(rows) - len(shown)
        print_line(f"and {n} other job{'s' * (n > 1)}")
    if parent_run_id is not None:
        print_line(f"sweep {parent_run_id}, experiment {tracking.experiment}")
    commands = {}
    if not any(each.startswith("hydra.sweeper.") for each in overrides):  # the table has no such keys
        commands = {"as a table": f"python -m seqadd.table {_table_words(configs, overrides)}"}
    if best:
        commands |= {"the best": f"python -m seqadd.inspect {_words(f'run={best[0].run_id}', tracking=tracking)}"}
    _print_commands(commands)


def _values(row: JobRow) -> list[str]:
    return [metric_text(row.metrics[name]) if row.counts and name in row.metrics else "" for name in _METRICS]


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("job", overflow="fold")
    for name in _METRICS.values():
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = SafeConsole(highlight=False)
    if not console.is_terminal:  # a file is as wide as its longest line
        console.width = max(console.width, table.__rich_measure__(console, console.options).maximum)
    console.print(table, markup=False)


def _print_commands(commands: Mapping[str, str]) -> None:
    width = max(map(len, commands), default=0) + 1
    for name, command in commands.items():
        print_line(f"{f'{name}:':<{width}} {command}")


def _table_words(configs: Sequence[Config], overrides: Sequence[str]) -> str:
    """Returns the arguments that make ``seqadd.table`` show these jobs."""
    keys = {*known_result_keys(), *GROUPS} - {"epochs"}
    epochs = sorted({config.epochs for config in configs})
    chosen = [each for each in overrides if each.partition("=")[0] in keys]
    cells = [config.cell for config in configs if config.cell is not None]
    if len(cells) == len(configs) and not any(
        each.startswith("cell=") for each in chosen
    ):  # else the table shows the article's three cells
        chosen.insert(0, "cell=" + ",".join(dict.fromkeys(cells)))
    return _words(*chosen, "--epochs", ",".join(map(str, epochs)), tracking=configs[0].tracking)


def _words(*words: str, tracking: Tracking) -> str:
    """Quotes words for a shell, and adds those that name the store if it is not the default one."""
    defaults = {
        "uri": os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db",
        "experiment": os.environ.get("MLFLOW_EXPERIMENT_NAME") or "seqadd",
    }
    store = [
        f"tracking.{key}={redact_credentials(getattr(tracking, key))}"
        for key, default in defaults.items()
        if getattr(tracking, key) != default
    ]
    return shlex.join([*code_words(), *words, *store])
