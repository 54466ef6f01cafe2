"""Records finished runs of untrained models, so that tests of inspection need no training."""

from __future__ import annotations

import uuid
from pathlib import Path

import keras
from conftest import SMALL, make_config, quick_database

from seqadd.data.addition import VOCABULARY
from seqadd.models import architectures
from seqadd.system import tensorflow_setup
from seqadd.tracking import artifacts, connection, provenance, recording
from seqadd.training import dataset, state

tensorflow_setup.use_threads(1)  # the number that runs use, because other tests start runs in this process


def model_of(*overrides: str) -> keras.Model:
    config = make_config(*overrides)
    return architectures.build_model(config, config.question_length, config.answer_length, len(VOCABULARY.characters))


def record_run(
    folder: Path, *overrides: str, model: keras.Model | None = None, keeps: tuple[int, ...] = (), **tags: str | None
) -> str:
    """Records a finished run with its weights; returns its id.

    Args:
        folder: of the store.
        overrides: of a small configuration.
        model: the model with the weights; by default a new model of the configuration.
        keeps: epochs of snapshots, all with the final weights.
        tags: replace the run's own tags; a value of None removes a tag.
    """
    quick_database(folder)
    config = make_config(*SMALL, *overrides, f"tracking.uri=sqlite:///{folder}/mlflow.db")
    model = model or model_of(*SMALL, *overrides)
    store = connection.open_store(config.tracking)
    data = dataset.make_dataset(config)
    all_tags = {**provenance.run_tags(config), "data_digest": data.digest(), **tags}
    with (
        store.run_directory(uuid.uuid4().hex).lock(print) as run_dir,
        recording.record(
            store,
            run_dir,
            artifacts.run_name(config),
            params=config.result_keys(),
            tags={name: value for name, value in all_tags.items() if value is not None},
        ) as record,
    ):
        record.log_history(
            [
                {"epoch": epoch, "loss": 2.0, "acc": 0.1, "val_loss": 2.0, "val_acc": 0.1, "val_exact_match": 0.0}
                for epoch in range(1, config.epochs + 1)
            ]
        )
        state.save_weights(model, record.artifact(artifacts.WEIGHTS))
        for epoch in keeps:
            state.save_weights(model, record.artifact(artifacts.snapshot_name(epoch, "weights.h5")))
        if "weights_sha256" not in tags:
            record.tag("weights_sha256", state.weights_digest(model))
    return record.run_id
