"""The commands in README, CONTRIBUTING, docs and examples, a small version of each, and those that no test runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

CLONE = Path(__file__).parents[1]
# Programs write these: docs/report.md has one pair of commands for each claim, which are checked below.
_GENERATED = {CLONE / "docs" / "report.md", CLONE / "docs" / "messages.md"}
_PAGES = sorted(set((CLONE / "docs").glob("*.md")) - _GENERATED)
#: Files with own parts; what runs them stands in their docstrings.
EXAMPLES = sorted((CLONE / "examples").glob("*.py"))
DOCUMENTS = [CLONE / "README.md", CLONE / "CONTRIBUTING.md", *_PAGES, *EXAMPLES]

_BEGINNINGS = (
    "python ", "make ", "pip ", "seqadd-run ", "mlflow ui", "mlflow artifacts ", "apt ", "pg_dump ", "eval ",
    "source ", "export ", "read ", "scancel ", "scontrol ", "sinfo", "MLFLOW_TRACKING_URI=",
)  # fmt: skip

#: Commands that no test runs, and the reasons.
NOT_RUN = {
    "make PYTHON=python3.12 table": "sets up a second environment: a gigabyte from the package index",
    "make check": "CI runs it; it asks the package index about vulnerabilities",
    "make docs": "make check runs it; it sets up an environment from the package index",
    "make lock": "needs uv, and asks the package index for what is newest",
    "apt install slurm-wlm munge": "changes the machine, as root",
    "apt install postgresql": "changes the machine, as root",
    "apt install slurm-wlm munge postgresql": "changes the machine, as root",
    "pip install 'tensorflow[and-cuda]'": "two gigabytes from the package index, for a GPU that is not there",
    "python benchmarks/compare.py": "needs torch and jax, two gigabytes from the package index",
    "python scripts/same_numbers.py OLD_COMMIT": "trains two epochs of every condition, twice",
}

_OF_SLURM = "integration/test_slurm.py"
_DISTURBED = f"{_OF_SLURM}::test_whatever_happens_to_its_jobs_a_sweep_ends_in_the_weights_of_one_that_ran_through"
_IN_A_WHEEL = "test_a_killed_sweep_of_an_own_cell_ends_as_if_undisturbed_and_is_judged_without_a_clone"
#: Commands that other tests run, because these set up what the commands need: ``file::test``.
ELSEWHERE = {
    "python -m seqadd diff ID ID": "commands/test_diff.py::test_what_differs_is_listed_and_where_the_losses_part",
    "python -m seqadd.run from=RUN_ID epochs=500": "evaluation/test_base_run.py::test_a_run_is_the_base_of_another",
    'eval "$(seqadd-run -sc install=bash)"': "test_house.py::test_shell_completion_of_the_installed_command",
    "seqadd-run cell=<TAB>": "test_house.py::test_shell_completion_of_the_installed_command",
    "mlflow ui": "faults/test_server.py::test_the_ui_as_the_readme_starts_it_listens_on_loopback_only",
    "mlflow artifacts download -r RUN_ID -a parts": f"faults/test_installed_parts.py::{_IN_A_WHEEL}",
    "scancel JOB": f"{_OF_SLURM}::test_a_job_that_is_cancelled_is_named_and_the_same_command_runs_it_alone",
    "scancel --signal=KILL": _DISTURBED,
    "scontrol requeue JOB": _DISTURBED,
}

# Values that a user would fill in for these placeholders.
_PLACEHOLDERS = {
    "architecture=NAME": "architecture=pooled",
    "seqadd.reproduce NAME": "seqadd.reproduce cells",
    "--experiments FOLDER": f"--experiments {CLONE}/experiments",
    "tracking.uri=...": "tracking.uri=http://127.0.0.1:5000",
    "https://mlflow.example.org": "http://127.0.0.1:5000",
}
# Overrides for a training of seconds; they do not change where and how it runs. The last value of a key counts.
_SMALL = "task.digits=3 task.n_questions=60 task.held_out=0.2 batch_size=20 encoder_units=6 decoder_units=6 jit=false"
# The same of models and tasks that do not have these keys.
_OWN_KEYS = {
    "architecture=transformer": ("encoder_units=6 decoder_units=6", "transformer.width=8"),
    "task=subtraction": ("task.digits=3", "subtraction.digits=2"),
}


def commands_of(document: Path) -> list[str]:
    """Returns the commands of a page or docstring in order, each once: lines of code blocks, and inline code."""
    text = document.read_text(encoding="utf-8")
    if document.suffix == ".py":
        text = textwrap.indent(ast.get_docstring(ast.parse(text)) or "", "    ")
    lines = text.split("\n")
    found = []
    for index, line in enumerate(lines):
        if line.startswith("    ") or document.suffix == ".py":
            command = line.strip().removeprefix("$ ")
            while command.endswith("\\"):
                index += 1
                command = f"{command[:-1].rstrip()} {lines[index].strip()}"
            found.append(command)
        else:
            # Inline code may be broken over two lines; text that is not code contains no command.
            rest = " ".join([line, *lines[index + 1 : index + 2]]) if line.count("`") % 2 else line
            found += re.findall(r"`([^`]+)`", rest)
    return list(dict.fromkeys(each for each in found if each.startswith(_BEGINNINGS)))


def needs_services(command: str) -> bool:
    """Returns whether a command needs Slurm, PostgreSQL or a shared MLflow server."""
    signs = ("slurm", "/srv/seqadd", "127.0.0.1:5000", "example.org", "database.txt", "tracking.uri=...", "store.py")
    words = command == "sinfo" or command.startswith(("export ", "read "))
    return words or (not command.startswith("pip ") and any(sign in command for sign in signs))


def every_command() -> Iterator[str]:
    """Yields all commands of all pages, each once."""
    yield from dict.fromkeys(command for document in DOCUMENTS for command in commands_of(document))


def in_full(command: str) -> str:
    """Returns the command with its placeholders filled in, as a user would type it."""
    for open_part, filled in _PLACEHOLDERS.items():
        command = command.replace(open_part, filled)
    for example in EXAMPLES:
        command = re.sub(rf" (examples/)?{example.name}", f" {example}", command)
    return command.replace(" experiments/", f" {CLONE}/experiments/")


def small_keys(command: str) -> str:
    """Returns the overrides that make what a command trains small."""
    small = _SMALL
    for choice, (key, own_key) in _OWN_KEYS.items():
        if choice in command:
            small = small.replace(key, own_key)
    return small


def made_small(command: str) -> str:
    """Returns a smaller version of the command: the smallest model, one seed, no claim trained, a quick benchmark."""
    command = in_full(command)
    command = re.sub(r"python (scripts|benchmarks)/", rf"python {CLONE}/\1/", command)
    if "seqadd.run " in command and not command.endswith(("--help", "task.digits=2")):
        sweep = " -m " in command.partition("seqadd.run")[2] or "--config-name" in command
        trials = " hydra.sweeper.trials=2" if "optuna" in command else ""
        search = "task.digits=3 task.n_questions=500 epochs=1 jit=false"
        small = f"{small_keys(command)} epochs=10" if "optuna" not in command else search
        return f"{command} {small}{' seed=0' if sweep and not trials else ''}{trials}"
    if re.search(r"seqadd\.(table|inspect) .*(cell|era)=", command):
        # What a table compares must be there: the runs have ten epochs.
        fewer = re.sub(r"--epochs \d+ --against", "--epochs 10 --against", command)
        return f"{fewer} {_SMALL}"
    if "seqadd.reproduce" in command and "--check" not in command:
        return f"{command} --dry-run"
    if "benchmarks/" in command:
        return f"{command} {'--rounds 1' if 'architectures' in command else '--quick'} --out results.csv"
    if command.startswith("pip "):
        # The libraries are installed already; this tests that the package can be built, and has such extras.
        where = " ".join(command.split()[2:]).replace("'.[", f"'{CLONE}[").replace(" .", f" {CLONE}")
        where = str(CLONE) if where == "." else where
        options = "--no-index --no-deps --no-build-isolation --ignore-installed --prefix installed"
        return f"python -m pip install {options} {where}"
    if command == "make table":
        return f"{command} --file {CLONE}/Makefile READY={CLONE}/Makefile -o {CLONE}/Makefile BIN=small"
    if command.startswith("make "):  # targets that run tests only collect them here; the mutations are not tried out
        settings = f"-C {CLONE} READY=Makefile -o Makefile BIN=$PWD/bin {'-n' if command == 'make faults' else ''}"
        return f"PYTEST_ADDOPTS='--collect-only -qq -p no:cacheprovider' {command} {settings}"
    if command.startswith("source "):
        return f"python -m venv --without-pip .venv && {command} && test $(which python) = $PWD/.venv/bin/python"
    return command


def run_in(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a shell in which ``python`` is this Python, and ``small/python`` runs small trainings."""
    programs = folder / "bin"
    # Only a run takes epochs as a key.
    small = f'test "$2" = seqadd.run && set -- "$@" epochs=10\nexec {sys.executable} "$@" {_SMALL}'
    for name, script in (("bin", f'exec {sys.executable} "$@"'), ("small", small)):
        if not (folder / name).exists():
            (folder / name).mkdir()
            (folder / name / "python").write_text(f"#!/bin/sh\n{script}\n")
            (folder / name / "python").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        input="535+61\n",  # for commands that read questions
        capture_output=True,
        text=True,
    )


def snippets_of(document: Path) -> list[str]:
    """Returns the blocks of Python of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
