"""One tracked run, or a sweep of them: config -> data -> model -> fit -> tracked run.

python -m seqadd.run cell=gru epochs=200
python -m seqadd.run -m cell=lstm,gru,simple_rnn seed=0,1,2
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqadd import addition, alphabet, checkpoints
from seqadd.config import Config, ConfigError, check_machine, from_hydra, in_one_line, packaged
from seqadd.exits import command, fail
from seqadd.progress import Display, EpochDone, Note, Report
from seqadd.quiet import quiet_import_of_tensorflow

if TYPE_CHECKING:
    from seqadd.tracking import Store

#: The artifact that a longer run goes on from.
CHECKPOINT = "end.checkpoint"


def run(config: Config, report: Report) -> str:
    """Trains one model, records it, and returns the id of its run.

    Args:
        config: a checked configuration.
        report: is told after every epoch.

    Raises:
        ConfigError: when the store cannot be opened.
        TrainingDiverged: when a loss is no longer finite.
        Interrupted: on Ctrl-C and SIGTERM.
    """
    # Imported here, because TensorFlow and MLflow take seconds that a refused configuration must not cost.
    from seqadd import tracking

    store = tracking.open_store(config.tracking)
    with store.record(
        run_name(config),
        params=config.result_keys(),
        tags=tracking.run_tags(config),
        parent_run_id=config.tracking.parent_run_id,
    ) as record:
        with quiet_import_of_tensorflow():
            from seqadd import figures, models, training

        training.use_threads(config.threads)
        data = addition.make_dataset(
            digits=config.task.digits,
            n_questions=config.task.n_questions,
            held_out=config.task.held_out,
            reverse=config.reverse,
            answer_length=config.answer_length,
            rng=np.random.default_rng(config.seed),
        )
        digest = data.digest()
        record.log_dataset(config, data, digest)
        record.log_text(OmegaConf.to_yaml(OmegaConf.create(config.nested_result_keys())), "config.yaml")

        model = models.build_model(
            config,
            question_length=data.train_questions.shape[1],
            answer_length=data.train_answers.shape[1],
            n_characters=len(alphabet.CHARACTERS),
        )
        optimizer = training.make_optimizer(model, config)
        fingerprint = checkpoints.fingerprint_of(config, digest)

        history: list[dict[str, float]] = []
        run_id, before = to_continue(store, config, fingerprint, report)
        if before is not None:
            training.restore(model, optimizer, before.arrays)
            history = before.history
            record.log_history(history)
            record.tag("continued_from", run_id)

        def warn(text: str) -> None:
            record.tag("jit", "failed")
            fingerprint["compiler"] = "none"
            report(Note(text))

        for epoch, metrics in training.train(model, optimizer, data, config, epochs_before=len(history), warn=warn):
            record.log_epoch(epoch, metrics)
            report(EpochDone(epoch, metrics))
            history.append({"epoch": epoch, **metrics})

        record.log_text(json.dumps(history, indent=1), "history.json")
        record.log_figure(figures.learning_curve(history, title=run_name(config)), "learning_curve.png")
        with record.artifact_file("model.weights.h5") as path:
            training.save_weights(model, path)
        with record.artifact_file(CHECKPOINT) as path:
            state = training.state(model, optimizer)
            checkpoints.save(path, checkpoints.Checkpoint(fingerprint, history, state))
    return record.run_id


def to_continue(
    store: Store, config: Config, fingerprint: dict[str, str], report: Report
) -> tuple[str, checkpoints.Checkpoint | None]:
    """The longest finished run that this one goes on from with more epochs, and its end; None to start afresh."""
    for shorter in store.shorter_runs(config):
        which = f"run {shorter.run_id} of {shorter.params['epochs']} epochs"
        try:
            with store.artifact_of(shorter.run_id, CHECKPOINT) as path:
                found = checkpoints.load(path, fingerprint)
        except (checkpoints.CheckpointError, FileNotFoundError) as error:
            report(Note(f"{which} is not continued: {error}"))
        else:
            if len(found.history) != int(shorter.params["epochs"]):
                report(Note(f"{which} is not continued: its checkpoint has {len(found.history)} epochs"))
                continue
            report(Note(f"goes on from the end of {which}"))
            return shorter.run_id, found
    return "", None


def run_name(config: Config) -> str:
    """What a person would call the run: ``lstm seed 0, repeat_vector, 200 epochs``; lists cut names at their end."""
    return f"{config.cell} seed {config.seed}, {config.architecture}, {config.epochs} epochs"


def run_alone(config: Config) -> str:
    """One run with its progress on the terminal; returns the id of its run."""
    with Display([f"{config.cell} seed {config.seed}"], [config.epochs]) as display:
        display.start(0)
        run_id = run(config, lambda message: display.receive(0, message))
        display.say(f"run {run_id}, experiment {config.tracking.experiment}")
    return run_id


def task_function(cfg: DictConfig) -> str:
    """What Hydra calls for a run of its own; the jobs of a sweep go through ``seqadd.jobs``."""
    about = HydraConfig.get()
    try:
        config = from_hydra(cfg, about.runtime.choices)
        check_machine(config)
        return run_alone(config)
    except Exception as error:
        if about.mode is RunMode.MULTIRUN:
            raise  # under another launcher than ours, which has more jobs to run
        fail(error)  # here, because Hydra would print a line of its own before it handed the error over


def main() -> None:
    """Command line of ``python -m seqadd.run``; see ``seqadd.exits.command`` for its exit codes."""
    with command():
        # Hydra would print an error over many lines and exit; told so, it hands it over, and one line becomes of it.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        try:
            hydra.main(config_path=str(packaged("conf")), config_name="config", version_base="1.3")(task_function)()
        except ValueError as error:  # Hydra's own for an override that it can read and not use, as in task=null
            raise ConfigError(in_one_line(error)) from error


if __name__ == "__main__":
    main()
