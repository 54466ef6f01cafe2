"""Tags that record a run's provenance: code, versions, machine, user."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from omegaconf import OmegaConf

import seqadd
from seqadd.config.parts import code_words
from seqadd.config.schema import Config
from seqadd.errors import redact_credentials
from seqadd.system import numeric_flags
from seqadd.system.hardware import instructions, processor_name, processors
from seqadd.tracking.artifacts import PATCH
from seqadd.training.fingerprint import code_digest

_LONGEST_PATCH = 1_000_000  # characters
# Only these paths decide numbers: results written by other runs in the meantime are no change of the code.
_CODE = (":/src", ":/conf", ":/pyproject.toml")

# Variables that point git to another repository than the one around a folder; git sets them for its hooks.
_OF_ANOTHER_REPOSITORY = {"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE"}


@functools.cache
def code_version() -> tuple[str, str]:
    """Returns the code's commit, and whether it was changed since ("true", "false"); "unknown" outside a clone."""
    here = Path(__file__).resolve()
    clone = here.parents[3]
    try:
        # An installed package may lie inside another project's repository, even at the path that a clone has.
        top, commit = _git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != clone:
            return "unknown", "unknown"
        _git("ls-files", "--error-unmatch", f":/{here.relative_to(clone).as_posix()}")
        changed = _git("status", "--porcelain", "--", *_CODE)
        return commit, str(bool(changed)).lower()
    except (OSError, ValueError, subprocess.SubprocessError):
        return "unknown", "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parents[3]), *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, env=environment)
    done.check_returncode()
    return done.stdout


@functools.cache
def uncommitted_changes() -> dict[str, str]:
    """Returns the artifact with the changes since the code's commit, in the format of ``git apply``; empty without any.

    Only files that git tracks; of more changes than fit, the names of the files and how much they changed.
    """
    if code_version()[1] != "true":
        return {}
    # The options replace what a user's configuration of git may set, so that ``git apply`` takes the text.
    diff = (
        "diff",
        "HEAD",
        "--unified=3",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    )
    try:
        text = redact_credentials(_git(*diff, "--binary", "--", *_CODE))
        if len(text) > _LONGEST_PATCH:
            changed = _git(*diff, "--stat", "--", *_CODE)
            text = f"{len(text)} characters of changes, more than {_LONGEST_PATCH}:\n{changed}"
    except (OSError, subprocess.SubprocessError):
        return {}
    return {PATCH: text} if text else {}


def first_artifacts(config: Config) -> dict[str, str | bytes]:
    """Returns the artifacts that a run records before it trains: configuration, own parts, uncommitted changes."""
    from seqadd.tracking.part_copies import sources  # here, because it imports what only a training needs

    written = OmegaConf.to_yaml(OmegaConf.create(config.nested_result_keys()))
    return {"config.yaml": written, **sources(config), **uncommitted_changes()}


def origin(tags: Mapping[str, str]) -> str:
    """Describes the code that made a record: its commit, or version and digest if the commit is unknown.

    Example:
        >>> origin({"git_commit": "4265967abcdef0123", "git_dirty": "true"})
        '4265967abcde with changes'
        >>> origin({"git_commit": "unknown", "seqadd": "0.1.0", "code": "0123456789abcdef"})
        'unknown (seqadd 0.1.0, code 0123456789abcdef)'
    """
    commit = tags.get("git_commit", "unknown")
    if commit != "unknown":
        return commit[:12] + (" with changes" if tags.get("git_dirty") == "true" else "")
    known = [f"{name} {tags[name]}" for name in ("seqadd", "code") if name in tags]
    return f"unknown ({', '.join(known)})" if known else "unknown"


def run_tags(config: Config) -> dict[str, str]:
    """Returns the tags of a run's record: identity, code, versions, machine."""
    return {
        "config_hash": config.config_hash(),
        "condition_hash": config.condition_hash(),
        "trajectory_hash": config.trajectory_hash(),
        "era": config.era,
        "threads": str(config.threads),
        "jit": str(config.jit).lower(),
        **code_tags(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("tensorflow", "keras", "numpy", "mlflow")},
        "machine": f"{platform.system()} {platform.machine()}, {processor_name()}, {processors()} processors",
        **{name: value for name, value in (("instructions", instructions()), (FLAGS, numeric_flags.flags())) if value},
        **slurm_tags(),
    }


#: The tag with a run's Slurm job.
SLURM_JOB = "slurm_job"


def slurm_tags() -> dict[str, str]:
    """Returns tags with this process's Slurm job, log file and node; empty outside a Slurm job."""
    if "SUBMITIT_FOLDER" not in os.environ:  # submitit sets it in the jobs that it submits
        return {}
    import submitit

    job = submitit.JobEnvironment()
    return {SLURM_JOB: job.job_id, "slurm_log": str(job.paths.stdout), "slurm_node": job.hostname}


def code_tags() -> dict[str, str]:
    """Returns the tags about the code that every record has, MLflow's own tag included."""
    commit, dirty = code_version()
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        MLFLOW_GIT_COMMIT: commit,
        # Outside a clone, these two replace the commit.
        "seqadd": seqadd.__version__,
        "code": code_digest(),
    }


def command_line() -> str:
    """Returns the command that this process, or the sweep that it is a job of, was started with.

    Without the store's address, which may hold a password.
    """
    if COMMAND_LINE in os.environ:
        return os.environ[COMMAND_LINE]
    program, *arguments = sys.argv or [""]
    path = Path(program)
    start = f"python -m seqadd.{path.stem}" if path.parent.name == "seqadd" else path.name
    code = () if any(each.partition("=")[0] == "--code" for each in arguments) else code_words()
    shown = ["tracking.uri=..." if each.startswith("tracking.uri=") else each for each in (*code, *arguments)]
    return redact_credentials(f"{start} {shlex.join(shown)}".strip())


def user_name() -> str:
    """Returns the user who records runs: $USER, else the system's user name, else the user's number."""
    try:
        return os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # for example in containers whose user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


#: The variable with the command of a sweep, for jobs that are not forked from it.
COMMAND_LINE = "SEQADD_COMMAND_LINE"

#: The tag with the number of trainable parameters.
PARAMETERS = "parameters"
#: The tag with a run's numeric flags; a run without flags has no such tag.
FLAGS = "flags"
# A copy of the constant in mlflow.utils.mlflow_tags, which takes seconds to import.
MLFLOW_GIT_COMMIT = "mlflow.source.git.commit"
