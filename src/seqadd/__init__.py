"""Trains sequence-to-sequence models that add numbers, and compares their accuracy with the published one."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqadd.api import Run, compare, curves, experiment, questions, runs
    from seqadd.claims.ceilings import (
        Distribution,
        dataset_ceiling,
        dataset_distribution,
        distribution_ceiling,
        draw_distribution,
    )
    from seqadd.claims.committed_curves import load_curves
    from seqadd.claims.verdicts import (
        Interval,
        difference_verdict,
        mean_interval,
        number_verdict,
        prediction_interval,
    )
    from seqadd.config.composition import load_config
    from seqadd.config.schema import Config
    from seqadd.errors import ConfigError, RunNotFound, SeqaddError
    from seqadd.evaluation.predict import probabilities
    from seqadd.evaluation.run_selection import load_run
    from seqadd.evaluation.trained_run import TrainedRun
    from seqadd.inspection.activations import activations, weights
    from seqadd.inspection.gates import gates
    from seqadd.models.shown import show
    from seqadd.system.part_registry import architecture, cell, task, within
    from seqadd.tracking.run_filter import RunFilter

__version__ = "0.1.0"

#: The public names; docs/api.md lists them by subject.
__all__ = [
    "Config", "ConfigError", "Distribution", "Interval", "Run", "RunFilter", "RunNotFound", "SeqaddError",
    "TrainedRun", "activations", "architecture", "cell", "compare", "curves", "dataset_ceiling",
    "dataset_distribution", "difference_verdict", "distribution_ceiling", "draw_distribution", "experiment", "gates",
    "load_config", "load_curves", "load_run", "mean_interval", "number_verdict", "prediction_interval",
    "probabilities", "questions", "runs", "show", "task", "weights", "within",
]  # fmt: skip

# The modules that define the public names. Each is imported when a name of it is first used: TensorFlow and MLflow take
# seconds. No public name may be a module's of this package, because the import system would replace it by the module.
_DEFINED_IN = {
    "api": ("Run", "compare", "curves", "experiment", "questions", "runs"),
    "claims.ceilings": (
        "Distribution", "dataset_ceiling", "dataset_distribution", "distribution_ceiling", "draw_distribution",
    ),
    "claims.committed_curves": ("load_curves",),
    "claims.verdicts": (
        "Interval", "difference_verdict", "mean_interval", "number_verdict", "prediction_interval",
    ),
    "config.composition": ("load_config",),
    "config.schema": ("Config",),
    "errors": ("ConfigError", "RunNotFound", "SeqaddError"),
    "evaluation.predict": ("probabilities",),
    "evaluation.run_selection": ("load_run",),
    "evaluation.trained_run": ("TrainedRun",),
    "inspection.activations": ("activations", "weights"),
    "inspection.gates": ("gates",),
    "models.shown": ("show",),
    "system.part_registry": ("architecture", "cell", "task", "within"),
    "tracking.run_filter": ("RunFilter",),
}  # fmt: skip


def __getattr__(name: str) -> object:
    for module, names in _DEFINED_IN.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# The training epoch is a TensorFlow program in float32, whatever this machine's keras.json says: KERAS_HOME names a
# folder that cannot exist, so Keras neither reads nor writes that file.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")
os.environ.pop("KERAS_NNX_ENABLED", None)

# MLflow reads these variables when it is imported. It sends no telemetry unless the user sets this one to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# MLflow's progress bar for each download would garble the progress display.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# MLflow's progress bars, which are off, would warn in a notebook that has no widgets.
warnings.filterwarnings("ignore", message="IProgress")
# At the end of a run MLflow would print the server's address, which may contain a password.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# MLflow would block for minutes while it retries a server that is down; ``tracking.retry`` does the retries here.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
# MLflow would print its log, SQL included; without its own configuration the log goes to ``system.library_log``.
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
