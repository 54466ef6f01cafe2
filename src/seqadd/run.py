"""One run, or a sweep of them, from the command line.

python -m seqadd.run cell=gru epochs=200
python -m seqadd.run -m cell=lstm,gru,simple_rnn seed=0,1,2
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from contextlib import nullcontext, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from seqadd.cli.entry import add_version, command, fail
from seqadd.cli.progress import Display
from seqadd.config import hydra_setup
from seqadd.config.composition import from_hydra
from seqadd.config.messages import one_line
from seqadd.config.schema import Config
from seqadd.config.validation import check_machine
from seqadd.errors import ConfigError, Pruned, redact_credentials
from seqadd.system.files import resource_dir
from seqadd.system.signals import defer_signals
from seqadd.tracking.database import check_database


def run_alone(config: Config) -> str:
    """One run with its progress on the terminal; returns the id of its run."""
    check_database(config.tracking)
    with defer_signals():  # it imports MLflow, which takes seconds that a refused configuration must not cost
        from seqadd.train import train_run

    with Display([f"{config.cell} seed {config.seed}"], [config.epochs]) as display:
        display.start(0)
        try:
            run_id = train_run(config, lambda message: display.receive(0, message))
        except Pruned as pruned:
            run_id = pruned.run_id
            display.notify(str(pruned))
        display.notify(f"run {run_id}, experiment {config.tracking.experiment}")
    return run_id


def task_function(cfg: DictConfig) -> str:
    """What Hydra calls for a run of its own; the jobs of a sweep go through ``launch.local``."""
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
