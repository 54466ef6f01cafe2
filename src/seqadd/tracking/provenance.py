"""Where a run's numbers come from: code, versions, machine, user, as tags."""

from __future__ import annotations

import getpass
import os
import platform
from importlib.metadata import version

from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

import seqadd
from seqadd.codes import code_digest, code_version
from seqadd.config.schema import Config
from seqadd.system import numeric_flags
from seqadd.system.hardware import instructions, processor_name, processors
from seqadd.tracking.store import FLAGS


def run_tags(config: Config) -> dict[str, str]:
    """What a run's record says beside its parameters: identity, code, versions, machine."""
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
        **_slurm_tags(),
    }


def _slurm_tags() -> dict[str, str]:
    """Which job of Slurm's this process belongs to, and where its log is; empty for none."""
    if "SUBMITIT_FOLDER" not in os.environ:  # which submitit sets in the jobs that it has submitted
        return {}
    import submitit

    job = submitit.JobEnvironment()
    return {"slurm_job": job.job_id, "slurm_log": str(job.paths.stdout), "slurm_node": job.hostname}


def code_tags() -> dict[str, str]:
    """What any record says of the code that made it, MLflow's own tag included."""
    commit, dirty = code_version()
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        MLFLOW_GIT_COMMIT: commit,
        # Outside a clone these two stand in for the commit.
        "seqadd": seqadd.__version__,
        "code": code_digest(),
    }


def user_name() -> str:
    """Who records runs here: $USER, else the name that the system knows, else the number that it has for whom."""
    try:
        return os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # as in containers whose user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
