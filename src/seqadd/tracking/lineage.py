"""What MLflow shows of a run's data set and model: the data set's source and schema, and the model under "Models".

The model is a folder in MLflow's format: a ``.keras`` file, which describes the layers and has their weights, and texts
beside it. It contains no pickle and no code. MLflow's own modules for models take seconds to import, so the texts are
written here.
"""

from __future__ import annotations

import json
import platform
import re
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_USER

import seqadd
from seqadd.config.schema import Config, override_text
from seqadd.data.drawing import Dataset
from seqadd.data.vocabulary import BLANK, Vocabulary
from seqadd.system.files import atomic_write, write_file
from seqadd.tracking.description import task_title
from seqadd.tracking.metric_sections import to_mlflow
from seqadd.tracking.provenance import MLFLOW_GIT_COMMIT, code_version
from seqadd.tracking.retry import is_refusal

if TYPE_CHECKING:
    from seqadd.tracking.run_directory import PendingResult
    from seqadd.tracking.store import Store

#: The import that registers the layers of all models with Keras.
LAYERS = "seqadd.models.architectures"

_FILE = "MLmodel"  # describes the model; written last: a folder with it is complete
_SHOWN = ("acc", "val_acc", "loss", "val_loss", "val_exact_match")
_DESCRIPTION = f"""    import mlflow, {LAYERS}
    model = mlflow.keras.load_model("models:/<the ID of this model>")

The import registers the model's layers with Keras. The file contains no code."""


def dataset_fields(config: Config, data: Dataset, digest: str) -> dict[str, str]:
    """Returns MLflow's fields of a run's data set; ``mlflow.data.get_source`` reads its source."""
    of_task = ("task.",) if config.task.name is None else ("task.", f"{config.task.name}.")
    made_from = {
        key: value
        for key, value in config.result_keys().items()
        if value is not None and (key.startswith(of_task) or key in ("reverse", "reverse_answer", "seed"))
    }
    source = {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "seqadd.training.dataset.make_dataset",
        MLFLOW_GIT_COMMIT: code_version()[0],
        "seqadd": seqadd.__version__,
        **{key: override_text(value) for key, value in made_from.items()},
        "answer_length": str(data.train_answers.shape[1]),
    }
    columns = [{"type": "string", "name": name, "required": True} for name in ("question", "answer")]
    return {
        "name": task_title(config),
        "digest": digest,
        "source_type": "code",
        "source": json.dumps({"tags": source}),
        "schema": json.dumps({"mlflow_colspec": columns}),
        "profile": json.dumps({"train": len(data.train_questions), "val": len(data.val_questions)}),
    }


def write_model(folder: Path, model: Any, data: Dataset, run_id: str) -> None:
    """Writes a trained model in MLflow's format: model, signature and an input example, the first held-out question.

    Args:
        folder: new, or left by an interrupted attempt.
        model: a Keras model, see ``models.architectures.build_model``.
        data: the questions of the run.
        run_id: of the run.

    Raises:
        ValueError: for a model that Keras could save only with code.
        CannotWrite: when a file cannot be written.
    """
    (folder / _FILE).unlink(missing_ok=True)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "data" / "model.keras") as path:
        model.save(path)
        _check_no_code(path)  # the file is published under its name only then
    names, example = _example(model, data)
    write_file(folder / "input_example.json", json.dumps(example))
    write_file(folder / "serving_input_example.json", json.dumps({"inputs": example}))
    packages = {**{name: version(name) for name in ("keras", "tensorflow")}, "seqadd": seqadd.__version__}
    write_file(folder / "requirements.txt", "".join(f"{name}=={there}\n" for name, there in packages.items()))
    described = {
        "flavors": {
            "keras": {
                "data": "data",
                "keras_backend": "tensorflow",
                "keras_version": packages["keras"],
                "save_exported_model": False,
            },
            "python_function": {"loader_module": "mlflow.keras", "python_version": platform.python_version()},
        },
        "metadata": {"import_before_loading": LAYERS},
        "mlflow_version": version("mlflow"),
        "model_size_bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "run_id": run_id,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            "type": "ndarray",
        },
        "signature": {
            "inputs": _tensors(names, model.inputs),
            "outputs": _tensors([None], model.outputs),
            "params": None,
        },
        "utc_time_created": str(datetime.now(UTC).replace(tzinfo=None)),
    }
    write_file(folder / _FILE, yaml.safe_dump(described))


def _example(model: Any, data: Dataset) -> tuple[Sequence[str | None], Any]:
    """Returns the names of a model's inputs, and the first held-out question as inputs: lists, by name if several."""
    vocabulary = Vocabulary(data.alphabet)
    question = vocabulary.one_hot(data.val_questions[:1]).tolist()
    if not model.reads_answer:
        return [None], question
    previous = np.roll(data.val_answers[:1], 1, axis=1)  # what it reads while it is taught
    previous[:, 0] = BLANK
    names = [each.name for each in model.inputs]
    return names, dict(zip(names, [question, vocabulary.one_hot(previous).tolist()], strict=True))


def _tensors(names: Sequence[str | None], tensors: Sequence[Any]) -> str:
    """Returns a part of a signature: the shapes, with -1 for the number of questions."""
    specs = [
        {
            **({"name": name} if name is not None else {}),
            "type": "tensor",
            "tensor-spec": {"dtype": str(each.dtype), "shape": [-1, *each.shape[1:]]},
        }
        for name, each in zip(names, tensors, strict=True)
    ]
    return json.dumps(specs)


def _check_no_code(path: Path) -> None:
    """Raises ValueError if a ``.keras`` file has a function's code, as Keras writes it for a ``Lambda`` layer."""
    with zipfile.ZipFile(path) as archive:
        if b'"__lambda__"' in archive.read("config.json"):
            raise ValueError("it has a function without a name, which Keras could save only as code")


def deliver_model(store: Store, run: Run, folder: Path, recorder: str, ending: PendingResult) -> None:
    """Records the model of a finished run under "Models", if ``write_model`` wrote one; safe to retry.

    A server that refuses it, or knows no models of runs (MLflow before 3.0), gets none: the run finishes without.

    Args:
        store: of the run.
        run: as the store has it.
        folder: with the model.
        recorder: the run's tag of this name, which the model has too, so that a retry finds it.
        ending: of the run.

    Raises:
        STORE_ERRORS: when the store does not respond.
    """
    if not (folder / _FILE).exists():
        return
    try:
        _deliver(store, run, folder, recorder, ending)
    except MlflowException as error:
        if not is_refusal(error) and error.error_code != "ENDPOINT_NOT_FOUND":
            raise


def _deliver(store: Store, run: Run, folder: Path, recorder: str, ending: PendingResult) -> None:
    model = _model_of(store, run, recorder) or _create_model(store, run, recorder, ending.tags)
    if model.status == LoggedModelStatus.READY:
        return
    model_id, step = model.model_id, int(ending.history[-1]["epoch"]) if ending.history else 0
    described = yaml.safe_load((folder / _FILE).read_text(encoding="utf-8"))
    described |= {"model_id": model_id, "artifact_path": model.artifact_location}
    write_file(folder / _FILE, yaml.safe_dump(described))
    store.client.log_model_artifacts(model_id, str(folder))
    if run.outputs is None or model_id not in [each.model_id for each in run.outputs.model_outputs]:
        store.client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step)])
    store.client.log_batch(run.info.run_id, metrics=_metrics_of(run, model_id, ending))
    store.client.finalize_logged_model(model_id, LoggedModelStatus.READY)


def _model_of(store: Store, run: Run, recorder: str) -> LoggedModel | None:
    """Returns the model that an earlier attempt recorded; None if there is none."""
    of_run = f"source_run_id = '{run.info.run_id}'"
    found = store.client.search_logged_models([run.info.experiment_id], filter_string=of_run)
    return next((model for model in found if model.tags.get("recorder") == recorder), None)


def _create_model(store: Store, run: Run, recorder: str, tags: Mapping[str, str]) -> LoggedModel:
    """Creates a model that is pending; its name is the run's, without characters that MLflow refuses in it."""
    kept = (MLFLOW_USER, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_GIT_COMMIT, "code", "weights_sha256")
    known = {**run.data.tags, **tags}
    return store.client.create_logged_model(
        run.info.experiment_id,
        name=re.sub(r"""[/:.%"']""", "_", run.info.run_name) or None,
        source_run_id=run.info.run_id,
        tags={
            "recorder": recorder,
            "mlflow.note.content": _DESCRIPTION,
            **{key: known[key] for key in kept if key in known},
        },
        params=dict(run.data.params),
        model_type="keras",
    )


def _metrics_of(run: Run, model_id: str, ending: PendingResult) -> list[Metric]:
    """Returns the last value of the metrics that the list of models shows, as the run has them already."""
    if not ending.history:
        return []
    row = ending.history[-1]
    time_ms = ending.times[-1] if ending.times else ending.end_time
    about_data = {"dataset_name": ending.dataset.get("name"), "dataset_digest": ending.dataset.get("digest")}
    return [
        Metric(to_mlflow(name), row[name], time_ms, int(row["epoch"]), model_id, run_id=run.info.run_id, **about_data)
        for name in _SHOWN
        if name in row
    ]
