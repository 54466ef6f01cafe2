"""The files of a claim's folder that are the program's: computed, written, and held against the code and the store."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hydra import initialize_config_dir

from seqadd.claims import committed_curves, figures, results, tables
from seqadd.claims.ceilings import (
    Distribution,
    dataset_ceiling,
    dataset_distribution,
    distribution_ceiling,
    visible_context,
)
from seqadd.claims.claim import Claim
from seqadd.claims.measurements import measured, values_of
from seqadd.config.composition import compose_config
from seqadd.config.schema import Config
from seqadd.system.files import atomic_write, resource_dir, write_file
from seqadd.training.dataset import make_dataset

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# What a picture follows from is written into it under this name.
_SHOWN = "seqadd"
_CEILING = ("reader", "condition", "over", "ceiling")
# Columns of runs.csv in which two trainings of the same run cannot differ, wherever they were; and in which they cannot
# on the same machine with the same versions.
OF_THE_SUMS = ("epochs", "data_digest")
OF_THE_NUMBERS = (*OF_THE_SUMS, "first_losses")
OF_THE_PLACE = ("machine", "versions")


def ceilings_of(claim: Claim) -> pd.DataFrame:
    """The rows of ceilings.csv: what the models of the claim, and whatever else it names, can reach at best.

    ``over``: the law of the generator's sets; the set of a seed, where a model may know every answer by heart; or that
    part of it that is trained on, and that ``acc`` is measured over.
    """
    import pandas as pd

    named: dict[tuple[str, str], list[Config]] = {}
    for condition in claim.conditions:
        reader = visible_context(condition.config)
        if reader is not None:
            named[reader, condition.label] = condition.jobs
    for spec in claim.settings.ceilings:
        with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
            named[spec.reader, " ".join(spec.overrides)] = [compose_config(list(spec.overrides))]
    laws: dict[tuple[int, int], Distribution] = {}
    rows = []
    for (reader, label), jobs in named.items():
        task = jobs[0].task
        sums = task.digits, task.n_questions
        law = laws[sums] = laws.get(sums) or dataset_distribution(*sums)
        rows.append((reader, label, "law", distribution_ceiling(law, reader, jobs[0])))
        for job in jobs:
            data = make_dataset(job)
            questions = np.concatenate([data.train_questions, data.val_questions])
            answers = np.concatenate([data.train_answers, data.val_answers])
            rows.append((reader, label, f"set of seed {job.seed}", dataset_ceiling(questions, answers, reader)))
            trained_on = dataset_ceiling(data.train_questions, data.train_answers, reader)
            rows.append((reader, label, f"training set of seed {job.seed}", trained_on))
    table = pd.DataFrame(rows, columns=list(_CEILING))
    return table.assign(ceiling=[f"{value:.6f}" for value in table["ceiling"]])


def read_ceilings(claim: Claim) -> pd.DataFrame:
    """The rows of ceilings.csv as they were written; computed where there is no such file.

    Raises:
        ConfigError: when the file is damaged.
    """
    path = claim.folder / "ceilings.csv"
    return results.from_csv(path, _CEILING) if path.is_file() else ceilings_of(claim)


def write(claim: Claim, epochs: pd.DataFrame, ceilings: pd.DataFrame) -> pd.DataFrame:
    """Writes everything in a claim's folder that is the program's; returns the rows of reproduced.csv.

    Args:
        claim: of which all runs are there.
        epochs: the rows of curves.csv.gz.
        ceilings: the rows of ceilings.csv.

    Raises:
        CannotWrite: naming the file; what was there before is untouched.
    """
    read = measured(claim, epochs)
    rows = results.results(claim, values_of(claim, read.curves), read.runs)
    drawn = {name: figures.draw(claim, name, read.curves, rows, ceilings) for name in claim.settings.figures}
    written = texts(claim, rows, read.runs, ceilings, whole=True)
    committed_curves.write(claim.folder / committed_curves.NAME, epochs)
    for name, figure in drawn.items():
        save(figure, claim.folder / name, what_is_shown(claim, name, written, epochs))
    for name, text in written.items():  # README.md last: it says that all the rest is there
        write_file(claim.folder / name, text)
    return rows


def what_is_shown(claim: Claim, name: str, written: dict[str, str], epochs: pd.DataFrame | None) -> str:
    """16 hex digits of what a figure follows from: runs, results, curves and what ``claim.yaml`` says of it.

    Args:
        claim: that it is of.
        name: of the figure.
        written: the texts of the claim's folder, see ``texts``.
        epochs: the rows of curves.csv.gz; None where it was drawn before there was such a file.
    """
    files = [written.get(each) for each in ("runs.csv", "reproduced.csv", "ceilings.csv")]
    if epochs is not None:
        files.append(committed_curves.as_text(epochs))
    settings = dataclasses.asdict(claim.settings.figures[name])
    of = json.dumps([settings, *files], default=lambda choice: choice.name)
    return hashlib.sha256(of.encode()).hexdigest()[:16]


def save(figure: Figure, path: Path, shown: str) -> None:
    """Writes a figure as PNG of 256 colours, a third as large as one of all; for they are committed, and in the report.

    Raises:
        CannotWrite: naming the file.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    drawn, about = io.BytesIO(), PngInfo()
    figure.savefig(drawn, dpi=110, format="png")
    about.add_text(_SHOWN, shown)
    picture = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with atomic_write(path) as unfinished:
        picture.save(unfinished, "PNG", optimize=True, pnginfo=about)


def shown_by(path: Path) -> str | None:
    """What ``save`` wrote into a picture; None where there is no such picture."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return str(picture.info.get(_SHOWN))
    except OSError:
        return None


def texts(
    claim: Claim, rows: pd.DataFrame, runs: pd.DataFrame, ceilings: pd.DataFrame, *, whole: bool
) -> dict[str, str]:
    """The files of a claim's folder that are the program's, but the figures and the curves.

    Args:
        claim: in whose folder they are.
        rows: of reproduced.csv.
        runs: the rows of runs.csv.
        ceilings: the rows of ceilings.csv.
        whole: whether curves.csv.gz has all runs.
    """
    readme = (claim.folder / "README.md").read_text(encoding="utf-8")
    return {
        "runs.csv": results.to_csv(runs),
        "reproduced.csv": results.to_csv(rows),
        **({"ceilings.csv": results.to_csv(ceilings)} if len(ceilings) else {}),
        "table.md": tables.table(claim, rows) + tables.ceilings_table(ceilings),
        "README.md": tables.readme_with(readme, tables.summary(rows, runs, curves=whole)),
    }
