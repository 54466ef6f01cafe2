"""A test runs a small version of every command in README, CONTRIBUTING, docs and examples.

``documented`` lists exceptions.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import make_config, our_claims
from documented import (
    CLONE,
    DOCUMENTS,
    ELSEWHERE,
    EXAMPLES,
    NOT_RUN,
    commands_of,
    every_command,
    in_full,
    made_small,
    needs_services,
    run_in,
    small_keys,
    snippets_of,
)
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from seqadd import answer, inspect, parts, reproduce, table
from seqadd.cli.code_option import take_code
from seqadd.commands import diff
from seqadd.config.composition import combinations
from seqadd.config.part_schema import declare
from seqadd.system.files import resource_dir

PARSERS = {
    "seqadd.table": table.parse_arguments,
    "seqadd.inspect": inspect.parse_arguments,
    "seqadd.answer": answer.parse_arguments,
    "seqadd.reproduce": reproduce.parse_arguments,
    "seqadd.parts": parts.parse_arguments,
    "seqadd.commands.diff": diff.parse_arguments,
}

#: Exit codes of commands that may fail here; ``--check`` fails if the clone's results are not its code's.
CODES = {
    "python -m seqadd.run task.digits=2": (2,),
    "python -m seqadd.table --user anna --commit 5feceb66": (2,),
    "python -m seqadd.table --user nobody": (2,),
    "python -m seqadd.reproduce --check": (0, 1),
}
#: Commands to run before a command; the reader has run them earlier on the page, or is assumed to.
BEFORE = {
    "python -m seqadd.inspect": "python -m seqadd.run",
    "python -m seqadd.table tracking.experiment=ours,theirs cell=lstm": "python -m seqadd.run -m "
    "tracking.experiment=ours,theirs cell=lstm",
    "python -m seqadd.table cell=lstm,gru --epochs 50 --against cell=gru": "python -m seqadd.run -m cell=lstm,gru",
    "python -m seqadd.inspect cell=lstm loss=binary seed=1": "python -m seqadd.run cell=lstm loss=binary seed=1",
}


def test_what_is_not_run_says_why_and_is_in_a_document():
    assert len(NOT_RUN) <= 10
    assert all(len(reason.split()) > 3 for reason in NOT_RUN.values())
    assert {*NOT_RUN, *ELSEWHERE, *BEFORE, *CODES} <= set(every_command())


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_what_another_test_runs_has_that_test(test):
    file, _, name = test.partition("::")
    assert f"def {name}(" in (CLONE / "tests" / file).read_text()


def test_the_commands_that_are_found_are_those_that_a_reader_finds():
    assert "make table" in commands_of(CLONE / "README.md")
    found = list(every_command())
    assert "python -m seqadd.run task.digits=2" in found  # together with its next line
    assert any(
        each.startswith("python -m seqadd.run -m hydra/sweeper=optuna") and "choice(64" in each for each in found
    )
    assert "make PYTHON=python3.12 table" in found  # in the middle of a line
    for example in EXAMPLES:
        of_its_docstring = commands_of(example)
        assert len(of_its_docstring) == 2
        assert all(each.startswith("python -m seqadd.") for each in of_its_docstring)


SEQADD = [each for each in every_command() if "-m seqadd." in each or "-m seqadd " in each]


@pytest.mark.parametrize("command", [each for each in SEQADD if "seqadd.run" not in each])
def test_every_documented_option_is_there(command):
    _, _, module, *arguments = shlex.split(in_full(command))
    if module == "seqadd":
        module = f"seqadd.commands.{arguments.pop(0)}"
    PARSERS[module](arguments)


def test_every_documented_key_is_there_and_its_values_go_together():
    for command in SEQADD:
        _, _, module, *arguments = shlex.split(in_full(command))
        overrides = [each for each in take_code(arguments) if not each.startswith(("-", "hydra"))]
        if (
            module != "seqadd.run"
            or "--config-name" in arguments
            or "interval" in command
            or "digits=2" in command
            or "from=" in command
        ):
            continue
        with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
            jobs = combinations(GlobalHydra.instance().config_loader(), {}, None, overrides)
        make_config(*jobs[0])
        make_config(*jobs[-1])
    declare([])


def test_the_report_names_for_each_claim_what_trains_it():
    report = (CLONE / "docs" / "report.md").read_text()
    for claim in our_claims():
        assert f"    python -m seqadd.reproduce {claim.name}\n" in report
        assert f"`python -m seqadd.run --config-dir experiments/{claim.name} --config-name sweep`" in report


RUN_HERE = [
    pytest.param(document, command, id=f"{document.stem}: {command}")
    for document in DOCUMENTS
    for command in commands_of(document)
    if not (command in NOT_RUN or command in ELSEWHERE or needs_services(command))
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader, who uses the same folder for all pages."""
    return tmp_path_factory.mktemp("reader")


@pytest.mark.long
@pytest.mark.parametrize(("document", "command"), RUN_HERE)
def test_a_documented_command_does_what_it_says(document, command, place):
    for before in [BEFORE[command]] if command in BEFORE else []:
        done = run_in(place, made_small(before), USER="anna")
        assert done.returncode == 0, done.stderr
    done = run_in(place, made_small(command), USER="anna")
    assert done.returncode in CODES.get(command, (0,)), (made_small(command), done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "does not provide the extra" not in done.stderr
    if done.returncode and command.startswith("python -m seqadd."):
        assert done.stderr.count("\n") == 1
        assert done.stderr.strip() in document.read_text() or "--user" in command or "--check" in command


@pytest.mark.long
def test_the_documented_script_trains_plots_asks_and_compares(place):
    """Its runs are made small; gru, with which it compares, was trained before, as the page does."""
    (script,) = (each for each in snippets_of(CLONE / "docs" / "extend.md") if "seqadd.experiment" in each)
    small = small_keys("").split()
    trained = run_in(place, f"python -m seqadd.run -m cell=gru epochs=15 'seed=range(3)' {' '.join(small)}")
    assert trained.returncode == 0, trained.stderr
    keys = {key: yaml.safe_load(value) for key, _, value in (each.partition("=") for each in small)}
    made_small = script.replace("epochs=15,", f"epochs=15, **{keys},").replace('mgu,gru", ', f'mgu,gru", *{small}, ')
    assert made_small.count("n_questions") == 2
    shutil.copy(CLONE / "examples" / "mgu.py", place)
    (place / "script.py").write_text(
        f"{made_small.strip().replace('seqadd.compare', 'compared = seqadd.compare')}\n"
        "print(len(runs), len(curves), *compared['than'], *compared['seeds'])\n"
    )
    done = run_in(place, "python script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3 45 gru gru 3 3"
