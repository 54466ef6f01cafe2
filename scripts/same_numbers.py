"""Holds the code that is here against the committed results: does it give the same numbers?

    python scripts/same_numbers.py

Trains two epochs of every condition of ``experiments/`` with the first of its seeds, and compares the losses, nine
digits of them, with those of the runs in ``runs.csv``. If all are equal, the pair of codes goes into
``experiments/same_numbers.csv``, and the results stay good; else they have to be made again. On the machine and with
the versions of those runs alone: others round in another way.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version

from seqadd import claims, codes, jobs, machine, results, tracking
from seqadd.checkpoints import CODE
from seqadd.config import Config, packaged
from seqadd.files import write_whole

_EPOCHS = 2


def compared() -> Iterator[tuple[Config, str, str]]:
    """For each condition with results a run of two epochs, the first losses of the one that is there, and its code."""
    seen = set()
    for claim in claims.read_all(packaged("experiments")):
        if not (claim.folder / "runs.csv").is_file():
            continue
        runs = results.read_runs(claim.folder)
        for condition in claim.conditions:
            job = condition.jobs[0]
            there = runs[(runs["condition"] == condition.label) & (runs["seed"] == str(job.seed))].iloc[0]
            if condition.config.condition_hash() not in seen and there["code"] not in codes.same_numbers():
                seen.add(condition.config.condition_hash())
                here = f"TensorFlow {version('tensorflow')}, Keras {version('keras')}"
                if there["versions"] != here or machine.processor_name() not in there["machine"]:
                    sys.exit(f"{claim.name}: made with {there['versions']} on {there['machine']}, here is {here}")
                yield dataclasses.replace(job, epochs=_EPOCHS), there["first_losses"], there["code"]


def main() -> int:
    every = list(compared())
    if not every:
        print("nothing to compare: all results are by this code, or by one that gives the same numbers")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        place = dataclasses.replace(
            every[0][0].tracking, uri=f"sqlite:///{folder}/mlflow.db", experiment="same_numbers"
        )
        store = tracking.open_store(place)
        configs = [dataclasses.replace(config, tracking=place) for config, _, _ in every]
        ids = jobs.run_all([f"condition {n}" for n in range(1, len(every) + 1)], configs)
        different = 0
        for (config, expected, _), run_id in zip(every, ids, strict=True):
            losses = store.history(run_id, "loss")
            found = " ".join(f"{losses[epoch]:.9g}" for epoch in range(1, _EPOCHS + 1))
            if found != expected:
                different += 1
                print(f"other numbers: {config.condition()}: {found}, in runs.csv {expected}")
    if different:
        print(f"{different} of {len(every)} conditions have other numbers; the results have to be made again")
        return 1
    with_counts = {code: sum(of == code for _, _, of in every) for code in sorted({of for _, _, of in every})}
    lines = (
        codes.file().read_text(encoding="utf-8").splitlines() if codes.file().is_file() else [",".join(codes.COLUMNS)]
    )
    lines += [f"{CODE},{code},{n}" for code, n in with_counts.items()]
    write_whole(codes.file(), "\n".join(lines) + "\n")
    print(f"the same numbers in all {len(every)} conditions; {codes.file().name} says so now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
