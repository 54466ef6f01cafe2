"""Holds the code that is here against that of another commit: does it give the same numbers, to the bit?

    python scripts/same_numbers.py be10b21

Both train two epochs of every condition of ``experiments/`` with its first seed, on this machine, each by its own
command; one epoch if an epoch takes over half a minute. The script compares the losses and the digest of the weights.
If all are equal, it adds a line to ``experiments/same_numbers.csv``, and runs of either code count as runs of the
other; if not, results of the other code have to be made again.

The results of the other commit are cached for this machine in ``--cache``. So are the results of the current files,
until one of them changes. An interrupted comparison resumes.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from omegaconf import OmegaConf

from seqadd.claims import loading, results
from seqadd.claims.claim import Claim
from seqadd.config import cost
from seqadd.config.schema import Config, override_text
from seqadd.errors import ConfigError
from seqadd.system import hardware
from seqadd.system.files import resource_dir, write_file
from seqadd.tracking import connection
from seqadd.training import fingerprint

_EPOCHS = 2
_SECONDS_OF_A_LONG_EPOCH = 30.0
_CLONE = Path(__file__).resolve().parents[1]

#: The numbers of a run: its losses by epoch and the digest of its weights.
Numbers = tuple[dict[int, float], str]


def jobs_of(old: Path) -> list[Config]:
    """Returns a short run of each condition, shared ones once, without the claims that ``old`` lacks."""
    jobs: dict[str, Config] = {}
    for claim in loading.read_all(resource_dir("experiments")):
        if not (old / "experiments" / claim.name / "sweep.yaml").is_file():
            print(f"{claim.name}: not compared, the other commit does not have it")
            continue
        for condition in claim.conditions:
            seconds = max(cost.seconds_per_epoch(condition.config), _measured_seconds(claim, condition.label))
            epochs = 1 if seconds > _SECONDS_OF_A_LONG_EPOCH else _EPOCHS
            jobs.setdefault(
                condition.config.condition_hash(),
                dataclasses.replace(condition.config, epochs=min(epochs, condition.config.epochs)),
            )
    return list(jobs.values())


def _measured_seconds(claim: Claim, label: str) -> float:
    try:
        runs = results.read_runs(claim.folder)
    except ConfigError:
        return 0.0
    return float(runs[runs["condition"] == label]["seconds_per_epoch"].astype(float).max())


def train(clone: Path, jobs: list[Config], folder: Path) -> None:
    """Trains runs as one sweep with the command of a clone, recorded in ``folder``; an earlier sweep there resumes.

    Raises:
        subprocess.CalledProcessError: when a run did not finish.
    """
    # Null keys are left out: the other commit may not have them yet, and its config groups set those without a value.
    overrides = [
        {key: override_text(value) for key, value in job.result_keys().items() if value is not None} for job in jobs
    ]
    sweep = {"defaults": ["config", "_self_"], "hydra": {"mode": "MULTIRUN", "sweeper": {"sweeps": overrides}}}
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(sweep), folder / "sweep.yaml")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    subprocess.run(
        [sys.executable, "-m", "seqadd.run", "--config-dir", ".", "--config-name", "sweep"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(clone / "src")},
        check=True,
    )


def numbers(folder: Path, jobs: list[Config]) -> tuple[dict[str, Numbers], str]:
    """Returns the numbers of runs by their configuration, and the digest of the code that trained them."""
    place = dataclasses.replace(jobs[0].tracking, uri=f"sqlite:///{folder}/mlflow.db")
    store = connection.open_store(place, create=False)
    found, digests = {}, set()
    for job in jobs:
        for run in store.condition_runs(job.condition_hash()):
            if run.params["epochs"] == str(job.epochs):
                found[job.config_hash()] = store.history(run.run_id, "loss"), run.tags["weights_sha256"]
                digests.add(run.tags["code"])
    if len(digests) > 1:  # the files were edited during the training
        sys.exit(f"{folder}: has runs by {len(digests)} codes ({', '.join(sorted(digests))}); delete it and try again")
    return found, digests.pop() if digests else "unknown"


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A context manager that yields a work tree of a commit, which exists inside the ``with``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clone"
        subprocess.run(
            ["git", "-C", str(_CLONE), "worktree", "add", "--quiet", "--detach", str(path), commit], check=True
        )
        try:
            yield path
        finally:
            subprocess.run(["git", "-C", str(_CLONE), "worktree", "remove", "--force", str(path)], check=True)


def contents_digest(clone: Path) -> str:
    """Returns a digest (12 hex digits) of all files that can affect a run, even those not in the code's digest."""
    digest = hashlib.sha256()
    for path in sorted(path for top in ("src", "conf") for path in (clone / top).rglob("*") if path.is_file()):
        if path.suffix in (".py", ".yaml"):
            digest.update(f"{path.relative_to(clone)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def here() -> str:
    """Describes what numbers depend on beside code and configuration: processor and libraries."""
    return ", ".join([hardware.processor_name(), *(f"{name} {version(name)}" for name in ("tensorflow", "keras"))])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", help="commit whose code is compared with")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqadd" / "same_numbers",
        help="folder for what commits came to (default: %(default)s)",
    )
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", str(_CLONE), "rev-parse", "--verify", f"{options.old}^{{commit}}"],
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    if not commit:
        parser.error(f"{options.old}: no such commit")
    of_machine = hashlib.sha256(here().encode()).hexdigest()[:8]
    of_old = options.cache / f"{commit[:12]}-{of_machine}"
    of_new = options.cache / f"files-{contents_digest(_CLONE)}-{of_machine}"
    with worktree(commit) as old:
        jobs = jobs_of(old)
        for folder, clone in (of_old, old), (of_new, _CLONE):
            print(f"{len(jobs)} conditions by {clone.name if clone == _CLONE else commit[:12]}, in {folder}")
            train(clone, jobs, folder)
    (before, old_digest), (now, digest) = numbers(of_old, jobs), numbers(of_new, jobs)
    if digest != fingerprint.code_digest():
        sys.exit(f"trained by {digest}, the files here give {fingerprint.code_digest()}: edited meanwhile; try again")
    others = [job for job in jobs if before.get(job.config_hash(), 0) != now.get(job.config_hash(), 1)]
    for job in others:
        print(f"other numbers: {job.condition()}: {now.get(job.config_hash())}, before {before.get(job.config_hash())}")
    if others:
        print(
            f"{len(others)} of {len(jobs)} conditions have other numbers; results by {old_digest} have to be made again"
        )
        return 1
    print(f"the same numbers, to the bit, in all {len(jobs)} conditions: {digest} and {old_digest}, {here()}")
    if old_digest not in fingerprint.equivalent_codes(digest):
        lines = fingerprint.file().read_text(encoding="utf-8").splitlines() if fingerprint.file().is_file() else []
        lines = lines or [",".join(fingerprint.COLUMNS)]
        lines.append(f"{digest},{old_digest},{len(jobs)},{hardware.processor_name()}")
        write_file(fingerprint.file(), "\n".join(lines) + "\n")
        print(f"{fingerprint.file().name} says so now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
