"""One tracked run, or a sweep of them: config -> data -> model -> fit -> tracked run.

python -m seqadd.run cell=gru epochs=200
python -m seqadd.run -m cell=lstm,gru,simple_rnn seed=0,1,2
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
import numpy as np
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqadd import addition, alphabet, checkpoints, codes, curricula
from seqadd.cli.entry import add_version, command, fail
from seqadd.cli.progress import Display, EpochDone, Note, Report
from seqadd.config import hydra_setup
from seqadd.config.composition import from_hydra
from seqadd.config.messages import one_line
from seqadd.config.schema import Config
from seqadd.config.validation import check_machine
from seqadd.database import check_database
from seqadd.errors import (
    CannotWrite,
    CheckpointError,
    ConfigError,
    Interrupted,
    Pruned,
    TrainingDiverged,
    redact_credentials,
)
from seqadd.reporting.markup import sanitize
from seqadd.system import numeric_flags
from seqadd.system.files import atomic_write, resource_dir
from seqadd.system.signals import defer_signals
from seqadd.system.tensorflow_setup import quiet_import

if TYPE_CHECKING:
    from seqadd.tracking import RecordedRun, Store
    from seqadd.unfinished import Unfinished

#: The artifact that a longer run goes on from.
CHECKPOINT = "end.checkpoint"


def run(config: Config, report: Report) -> str:
    """Trains one model, records it, and returns the id of its run; what is finished is not trained again.

    Args:
        config: a checked configuration.
        report: is told after every epoch.

    Raises:
        ConfigError: when the store cannot be opened, or this process computes otherwise than runs do.
        CannotWrite: when a checkpoint or an artifact cannot be written.
        RecordWaits: when the store could not be told all of it.
        TrainingDiverged: when a loss is no longer finite.
        Pruned: when the search that it is a trial of gives it up.
        Interrupted: on Ctrl-C and SIGTERM.
    """
    if config.tracking.parent_run_id is None:
        check_database(config.tracking)
    # Imported here, because TensorFlow and MLflow take seconds that a refused configuration must not cost. Signals are
    # held wherever a library works: an exception out of the blue inside its compiled code can end the process.
    with defer_signals():
        from seqadd import tracking, trials

    def say(text: str) -> None:
        report(Note(text))

    numeric_flags.check_libraries()
    if "tensorflow" in sys.modules:  # of whoever calls this, or of an earlier run in the same process
        check_threads(config)
    if config.tracking.parent_run_id is None:
        store = tracking.open_store(config.tracking, say=say)
        tracking.reconcile(store)
    else:  # the sweep has opened it and done that
        store = tracking.open_store_patiently(config.tracking, say)
    data = draw(config)
    digest = data.digest()
    with (
        trials.trial_of(config, store) as trial,
        store.run_directory(numeric_flags.key_with_flags(config.config_hash())).claimed(say) as place,
    ):
        tracking.deliver(store, place)  # what a process that was killed could not
        if not config.force:
            finished = store.finished_run(config, data.digest)
            if finished is not None:
                place.discard()
                say(already_finished(finished, config))
                trial.begin(finished.run_id, store.history(finished.run_id, trial.metric) if trial.metric else {})
                return finished.run_id
        if config.tracking.parent_run_id is None:  # the sweep has tried them
            numeric_flags.check_flags()
        fingerprint = checkpoints.fingerprint_of(config, digest)
        start = find_start(store, place, config, fingerprint, say)
        with tracking.record(
            store,
            place,
            run_name(config),
            params=config.result_keys(),
            tags={**tracking.run_tags(config), "data_digest": digest, **start.tags, **trial.tags},
            texts={"config.yaml": OmegaConf.to_yaml(OmegaConf.create(config.nested_result_keys()))},
            parent_run_id=config.tracking.parent_run_id,
            go_on=start.same_run,
            say=say,
        ) as record:
            record.log_dataset(config, data, digest)
            record.log_history(start.history)
            trial.begin(record.run_id, trial.values(start.history))
            with defer_signals():
                with quiet_import():
                    from seqadd import models, snapshots, training
                    from seqadd.reporting import figures
                    from seqadd.system import tensorflow_setup

                training.use_threads(config.threads)
                record.tag("gpu", tensorflow_setup.use_gpus())
                model = models.build_model(
                    config,
                    question_length=data.train_questions.shape[1],
                    answer_length=data.train_answers.shape[1],
                    n_characters=len(alphabet.CHARACTERS),
                )
                optimizer = training.make_optimizer(model, config)
                history = start.history
                if start.checkpoint is not None:
                    training.restore(model, optimizer, start.checkpoint.arrays)

            @defer_signals()
            def checkpoint() -> checkpoints.Checkpoint:
                return checkpoints.Checkpoint(fingerprint, history, training.state(model, optimizer))

            def warn(text: str) -> None:
                record.tag("jit", "failed")
                say(text)

            take_snapshot = snapshots.taker(config, data, model, record)
            place.save(checkpoint())
            take_snapshot(len(history))
            try:
                for row in training.train(model, optimizer, data, config, history, warn=warn):
                    record.log_epoch(row)
                    report(EpochDone(int(row["epoch"]), row))
                    take_snapshot(int(row["epoch"]))
                    if place.checkpoint_is_due():
                        place.save(checkpoint())
                    trial.report(row)
                with defer_signals():
                    record.tag("weights_sha256", training.weights_digest(model))
                    record.log_text(json.dumps(history, indent=1), "history.json")
                    try:
                        with atomic_write(place.artifact("learning_curve.png")) as path:
                            figures.learning_curve(history, title=run_name(config)).savefig(path)
                    except (RuntimeError, ValueError) as error:  # as somebody's matplotlibrc can have it
                        say(f"no learning curve: {one_line(error)}")
                    with atomic_write(place.artifact("model.weights.h5")) as path:
                        training.save_weights(model, path)
                    checkpoints.save(place.artifact(CHECKPOINT), checkpoint())
            except TrainingDiverged:
                trial.diverged = True
                raise
            except Pruned as pruned:
                record.tag(tracking.PRUNED, str(pruned.epoch))
                raise
            except Interrupted:
                with suppress(CannotWrite):  # then the earlier one will do
                    place.save(checkpoint())
                record.log_history(history[record.epochs :])
                raise
    return record.run_id


def check_threads(config: Config) -> None:
    """Raises ConfigError where TensorFlow has computed in this process already, with another number of threads."""
    with quiet_import():
        from seqadd import training
    try:
        training.use_threads(config.threads)
    except RuntimeError as error:
        raise ConfigError(
            f"threads={config.threads}: TensorFlow has computed with others in this process already, and keeps to "
            "them; begin another process for it"
        ) from error


def draw(config: Config) -> addition.Dataset:
    """The sums of a run.

    Raises:
        ConfigError: when a curriculum has no sums of some length to go on with.
    """
    data = addition.make_dataset(
        digits=config.task.digits,
        n_questions=config.task.n_questions,
        held_out=config.task.held_out,
        reverse=config.reverse,
        answer_length=config.answer_length,
        equal_lengths=bool(config.task.equal_lengths),
        longest=config.task.longest,
        rng=np.random.default_rng(config.seed),
    )
    if config.curriculum is not None:
        missing = curricula.missing_length(data.train_digits, data.val_digits, config.task.digits)
        if missing is not None:
            raise ConfigError(
                f"curriculum={config.curriculum}: the sums of seed={config.seed} have none of {missing} digits to "
                f"learn, or none held out; raise task.n_questions={config.task.n_questions} or task.held_out"
            )
    return data


def data_digest(config: Config) -> str:
    """The digest of the sums of a run."""
    return draw(config).digest()


def already_finished(run: RecordedRun, config: Config) -> str:
    """What to tell a person whose run is there."""
    by_other_code = run.tags.get("code") not in codes.same_numbers()
    other = f" by other code, commit {sanitize(codes.origin(run.tags))}" if by_other_code else ""
    return f"finished already: run {run.run_id}{other}; force=true trains it again" + (
        ", and only then takes the snapshots of inspect.every" if config.inspect.every is not None else ""
    )


@dataclass(frozen=True)
class Start:
    """Where a training begins: at the first epoch, or with what an earlier one has left.

    Attributes:
        checkpoint: what to go on from; None for the first epoch.
        same_run: whether the record goes on too, or a new one begins.
        tags: what the record says of it.
    """

    checkpoint: checkpoints.Checkpoint | None = None
    same_run: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def history(self) -> list[dict[str, float]]:
        """The metrics of the epochs that are behind it."""
        return self.checkpoint.history if self.checkpoint is not None else []


def find_start(
    store: Store, place: Unfinished, config: Config, fingerprint: dict[str, str], say: Callable[[str], None]
) -> Start:
    """The farthest that this training has got before it was interrupted, or a finished one of fewer epochs.

    ``force`` asks for neither, but where Slurm has requeued the job that it was asked of, this goes on with itself.
    """
    from seqadd import tracking

    if config.force and int(os.environ.get("SLURM_RESTART_COUNT", "0")) == 0:
        return Start()
    own = place.latest_checkpoint(fingerprint, say)
    same_run = tracking.can_go_on(store, place, own)
    for shorter in [] if config.force else store.shorter_runs(config):
        epochs = int(shorter.params["epochs"])
        if own is not None and len(own.history) >= epochs:
            break
        which = f"run {shorter.run_id} of {epochs} epochs"
        try:
            with store.artifact_of(shorter.run_id, CHECKPOINT) as path:
                found = checkpoints.load(path, fingerprint)
        except (CheckpointError, FileNotFoundError) as error:
            say(f"{which} is not continued: {error}")
        else:
            if len(found.history) != epochs:
                say(f"{which} is not continued: its checkpoint has {len(found.history)} epochs")
                continue
            say(f"goes on from the end of {which}")
            return Start(found, same_run, {"continued_from": shorter.run_id})
    if own is not None and own.history:
        say(f"goes on after epoch {len(own.history)}, where it was interrupted")
    return Start(own, same_run)


def run_name(config: Config) -> str:
    """What a person would call the run: ``lstm seed 0, repeat_vector, 200 epochs``; lists cut names at their end."""
    return f"{config.cell} seed {config.seed}, {config.architecture}, {config.epochs} epochs"


def run_alone(config: Config) -> str:
    """One run with its progress on the terminal; returns the id of its run."""
    with Display([f"{config.cell} seed {config.seed}"], [config.epochs]) as display:
        display.start(0)
        try:
            run_id = run(config, lambda message: display.receive(0, message))
        except Pruned as pruned:
            run_id = pruned.run_id
            display.say(str(pruned))
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


def check_command_line() -> argparse.Namespace:
    """The options of the command line; says the version and ends where that is asked for.

    Raises:
        ConfigError: for options that Hydra does not know, where it would answer with its usage and the whole line; for
            a folder of files that it would not read; for one that has it run code from a file.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; options come before KEY=VALUE, see python -m seqadd.run --help")

    # Hydra's own parser, but for --version, which names Hydra's alone there.
    parser = argparse.ArgumentParser(parents=[get_args_parser()], conflict_handler="resolve", add_help=False)
    parser.error = refuse  # type: ignore[method-assign]
    add_version(parser, f", Hydra {version('hydra-core')}")
    options = parser.parse_args()
    if options.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: reads a pickle, which may hold code; write the overrides instead")
    if options.config_dir is not None:
        hydra_setup.check_hidden_files(Path(options.config_dir))
    return options


def main() -> None:
    """Command line of ``python -m seqadd.run``; see ``seqadd.cli.entry.command`` for its exit codes."""
    options = {option.partition("=")[0] for option in sys.argv[1:] if option.startswith("-")}
    shows_config = not options.isdisjoint(("--cfg", "-c", "--info", "-i"))
    with command(prints=shows_config or not options.isdisjoint(("--help", "-h", "--hydra-help", "--version"))):
        # Hydra would print an error over many lines and exit; told so, it hands it over, and one line becomes of it.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        asked = check_command_line()
        if GlobalHydra.instance().is_initialized():
            raise ConfigError(
                "Hydra is in use in this process already, by hydra.initialize or by another run; a run beside it needs "
                "a process of its own"
            )
        hydra_setup.replace_internals(hydra_help=asked.hydra_help)
        shown = io.StringIO()
        try:
            with redirect_stdout(shown) if shows_config else nullcontext():
                hydra.main(config_path=str(resource_dir("conf")), config_name="config", version_base="1.3")(
                    task_function
                )()
            print(redact_credentials(shown.getvalue()), end="")
        except ValueError as error:  # Hydra's own for an override that it can read and not use, as in task=null
            raise ConfigError(one_line(error)) from error


if __name__ == "__main__":
    main()
