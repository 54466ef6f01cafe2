"""What two recorded runs differ in, and the epoch at which their losses part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqadd.comparison.runs import printable
from seqadd.config.schema import override_text
from seqadd.training.fingerprint import COMPUTES, equivalent_codes

if TYPE_CHECKING:
    from seqadd.tracking.store import RunRecord

# What numbers follow from, beside the keys; a tag replaces the key of its name, as jit=failed does.
_DECIDING = ("data_digest", "code", "tensorflow", "keras", "numpy", "machine", "instructions", "gpu", "flags", "jit")
# What is shown because it helps to find a cause, and is none.
_OTHERS = ("git_commit", "git_dirty", "seqadd", "python", "mlflow", "continued_from")


@dataclass(frozen=True)
class Difference:
    """A key or a tag that two runs differ in.

    Attributes:
        name: of the key or the tag.
        values: of both runs; ``null`` where there is none.
        decides: whether numbers follow from it.
    """

    name: str
    values: tuple[str, str]
    decides: bool


def differences(one: RunRecord, other: RunRecord) -> list[Difference]:
    """Returns what two runs differ in: keys, then data, code, versions and machine."""
    names = [name for name in {**one.params, **other.params} if name not in _DECIDING]
    same_model = COMPUTES in one.tags and one.tags[COMPUTES] == other.tags.get(COMPUTES)
    found = []
    for name in (*names, *_DECIDING, *_OTHERS):
        mine, its = (run.tags.get(name, run.params.get(name, override_text(None))) for run in (one, other))
        if mine != its:
            no_cause = name in ("epochs", *_OTHERS) or (name == "part_code" and same_model)
            decides = not no_cause and not (name == "code" and its in equivalent_codes(mine))
            found.append(Difference(name, (printable(mine), printable(its)), decides))
    return found


def explanation(
    one: Mapping[int, float], other: Mapping[int, float], found: list[Difference], metric: str = "loss"
) -> list[str]:
    """Says where the curves of two runs part, and what can be the cause.

    Args:
        one: a run's values after each epoch.
        other: those of the other run.
        found: what the runs differ in.
        metric: what the values are of.

    Example:
        >>> explanation({1: 2.5, 2: 1.5}, {1: 2.5, 2: 1.25}, [])
        ['loss parts at epoch 2: 1.5 | 1.25, which is 0.25 apart', 'nothing that is recorded explains it']
    """
    shared = sorted(one.keys() & other.keys())
    if not shared:
        return [f"{metric}: the runs have no epoch in common"]
    parting = next((epoch for epoch in shared if one[epoch] != other[epoch]), None)
    if parting is None:
        return [f"{metric} is the same in all {len(shared)} epochs that both runs have"]
    lines = []
    for epoch in dict.fromkeys((parting, shared[-1])):
        where = f"{metric} parts at epoch {epoch}" if epoch == parting else f"after epoch {epoch}"
        mine, its = one[epoch], other[epoch]
        lines.append(f"{where}: {mine:.9g} | {its:.9g}, which is {abs(mine - its):.2g} apart")
    causes = ", ".join(each.name for each in found if each.decides)
    return [*lines, f"can explain it: {causes}" if causes else "nothing that is recorded explains it"]
