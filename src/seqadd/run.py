"""Trains one run, or a sweep of runs, from the command line.

python -m seqadd.run cell=gru epochs=200
python -m seqadd.run -m cell=lstm,gru,simple_rnn seed=0,1,2
"""

from __future__ import annotations

from seqadd.system import status_line

if status_line.is_command(__name__):
    status_line.show("reading the configuration")  # before the other imports, which take a second

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

from seqadd.cli.code_option import completes, take_code, take_code_of_line
from seqadd.cli.entry import add_version, as_program, command, fail
from seqadd.cli.progress import Display, EpochDone, Notify, Pages, Report, Stage
from seqadd.config import help_text, hydra_setup
from seqadd.config.composition import from_hydra
from seqadd.config.messages import one_line
from seqadd.config.schema import GROUPS, Config, known_result_keys
from seqadd.config.validation import check_machine
from seqadd.config.words import as_option, check_words, with_integers
from seqadd.errors import ConfigError, Pruned, redact_credentials
from seqadd.launch import plan, summary
from seqadd.launch.own_parts import has_own_parts, prepare
from seqadd.system.files import resource_dir
from seqadd.system.signals import defer_signals
from seqadd.tracking.database import check_database


def run_alone(config: Config) -> str:
    """Trains one run with its progress on the terminal; returns the run's ID."""
    check_database(config.tracking)
    reached: dict[str, float] = {}
    pages: list[str] = []
    with Display([f"{config.model_name} seed {config.seed}"], [config.epochs], resumes=not config.force) as display:

        def notify(report: Report) -> None:
            if isinstance(report, Pages):
                pages.extend(report.lines)
                return
            if isinstance(report, EpochDone):
                reached.update(report.metrics)
            display.receive(0, report)

        display.start(0)
        try:
            if has_own_parts(config):
                (config,) = prepare([config], lambda text: notify(Stage(text)))
                check_machine(config)  # only now its memory is known
            run_id = _train(config, notify)
        except Pruned as pruned:
            run_id = pruned.run_id
            display.notify(str(pruned))
    summary.print_run(config, run_id, reached, pages)
    return run_id


def _train(config: Config, notify: Notify) -> str:
    notify(Stage("importing MLflow"))
    with defer_signals():  # imported here, because MLflow takes seconds and a configuration error must be fast
        from seqadd.train import train_run
    return train_run(config, notify)


def task_function(cfg: DictConfig) -> str:
    """The function that Hydra calls for a single run; the jobs of a sweep go through ``launch.local``."""
    about = HydraConfig.get()
    try:
        config = from_hydra(cfg, about)
        if config.tracking.label is None:
            keys = {*known_result_keys(), *GROUPS}
            words = (word for word in about.overrides.task if word.lstrip("+").partition("=")[0] in keys)
            config.tracking.label = " ".join(words)
        check_machine(config)
        if plan.is_requested():
            plan.print_plan([config.model_name], [config], lambda configs: (1, "alone"))
            return ""
        return run_alone(config)
    except Exception as error:
        if about.mode is RunMode.MULTIRUN:
            raise  # a launcher of Hydra's own calls this function, and has more jobs to run
        fail(error)  # here, because Hydra would print a line of its own before it passed the error on


def check_command_line() -> argparse.Namespace:
    """Parses and checks the options of the command line; ``--version`` prints the version and exits.

    Raises:
        ConfigError: for options unknown to Hydra, which would print its usage and the whole command line instead; for
            a folder with files that Hydra would not read; for an option that makes Hydra run code from a file.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; python -m seqadd.run --help lists all options")

    # Hydra's own parser, except for --version, which would print only Hydra's version.
    parser = argparse.ArgumentParser(parents=[get_args_parser()], conflict_handler="resolve", add_help=False)
    parser.error = refuse  # type: ignore[method-assign]
    add_version(parser, f", Hydra {version('hydra-core')}")
    options, unknown = parser.parse_known_args()
    if unknown:
        if not unknown[0].startswith("-"):
            raise ConfigError(f"{unknown[0]}: stands after an option; write options before KEY=VALUE")
        key_as_option = as_option(unknown[0], sys.argv[1:])
        raise ConfigError(key_as_option or f"{unknown[0]}: no such option; python -m seqadd.run --help lists all")
    check_words(options.overrides)
    if options.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: not supported, a pickle can run code; use overrides instead")
    if options.config_dir is not None:
        hydra_setup.check_hidden_files(Path(options.config_dir))
    return options


def _with_base(words: list[str]) -> list[str]:
    """Replaces ``from=RUN_ID`` by the overrides of that run; see ``evaluation.base_run``."""
    if not any(word.startswith("from=") for word in words):
        return words
    status_line.show("importing MLflow")
    with defer_signals():  # imported here, because MLflow takes seconds
        from seqadd.evaluation.base_run import with_base
    return with_base(words)


def _shows_config(options: argparse.Namespace) -> bool:
    """Whether Hydra prints a configuration, in which a password may stand, instead of running one."""
    return options.cfg is not None or options.info is not None


def main() -> None:
    """Command line of ``python -m seqadd.run``; see ``seqadd.cli.entry.command`` for its exit codes."""
    given: list[argparse.Namespace] = []  # empty with --version, which ends in check_command_line
    with command(prints=lambda: not given or _shows_config(given[0]) or given[0].help or given[0].hydra_help):
        # Without this, Hydra prints errors over many lines and exits; with it, ``command`` reports them in one line.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        if completes(sys.argv[1:]):
            if not take_code_of_line():
                return
        else:
            sys.argv[1:] = plan.take_option(take_code(sys.argv[1:]))
        arguments = check_command_line()
        given.append(arguments)
        if GlobalHydra.instance().is_initialized():
            raise ConfigError(
                "Hydra is already initialized in this process, by hydra.initialize or another run; start the run in "
                "another process"
            )
        sys.argv[1:] = with_integers(_with_base(sys.argv[1:]))
        if sys.argv[1:] in (["--help"], ["-h"]):
            print(help_text.help_text(), end="")
            return
        if arguments.help:
            hydra_setup.register_help()
        hydra_setup.replace_internals(hydra_help=arguments.hydra_help)
        shown = io.StringIO()
        try:
            with redirect_stdout(shown) if _shows_config(arguments) else nullcontext():
                hydra.main(config_path=str(resource_dir("conf")), config_name="config", version_base="1.3")(
                    task_function
                )()
            print(redact_credentials(shown.getvalue()), end="")
        except ValueError as error:  # Hydra raises it for an override that it can parse but not use, such as task=null
            raise ConfigError(one_line(error)) from error


def program() -> NoReturn:
    """The program of a process; ``main`` is for callers that go on afterwards."""
    as_program(main)


if __name__ == "__main__":
    program()
