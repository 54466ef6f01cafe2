"""Computes and writes the files of a claim's folder that the program owns."""

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

# The key of the PNG text that holds a picture's digest, see ``what_is_shown``.
_SHOWN = "seqadd"
_CEILING = ("reader", "condition", "over", "ceiling")
# Columns of runs.csv. Two trainings of the same run agree in OF_THE_SUMS on any machine; they agree in OF_THE_NUMBERS
# if they also agree in OF_THE_PLACE.
OF_THE_SUMS = ("epochs", "data_digest")
OF_THE_NUMBERS = (*OF_THE_SUMS, "first_losses")
OF_THE_PLACE = ("machine", "versions")


def ceilings_of(claim: Claim) -> pd.DataFrame:
    """Computes the rows of ceilings.csv, for the models of the claim and the additional ceilings in its settings.

    The column ``over`` names the questions: the ``law``, which is the distribution of the generator's sets; the set of
    a seed, which a model may overfit; or its training set, over which ``acc`` is measured.
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
    distributions: dict[tuple[int, int], Distribution] = {}
    rows = []
    for (reader, label), jobs in named.items():
        task = jobs[0].task
        assert task.digits is not None, "loading refuses other tasks"
        sums = task.digits, task.n_questions
        if sums not in distributions:
            distributions[sums] = dataset_distribution(*sums)
        rows.append((reader, label, "law", distribution_ceiling(distributions[sums], reader, jobs[0])))
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
    """Reads the rows of ceilings.csv; computes them if there is no such file.

    Raises:
        ConfigError: when the file is damaged.
    """
    path = claim.folder / "ceilings.csv"
    return results.from_csv(path, _CEILING) if path.is_file() else ceilings_of(claim)


def write(claim: Claim, epochs: pd.DataFrame, ceilings: pd.DataFrame) -> pd.DataFrame:
    """Writes all files of a claim's folder that the program owns; returns the rows of reproduced.csv.

    Args:
        claim: a claim without missing runs.
        epochs: the rows of curves.csv.gz.
        ceilings: the rows of ceilings.csv.

    Raises:
        CannotWrite: names the file; the file before is unchanged.
    """
    read = measured(claim, epochs)
    rows = results.results(claim, values_of(claim, read.curves), read.runs)
    drawn = {name: figures.draw(claim, name, read.curves, rows, ceilings) for name in claim.settings.figures}
    written = texts(claim, rows, read.runs, ceilings, whole=True)
    committed_curves.write(claim.folder / committed_curves.NAME, epochs)
    for name, figure in drawn.items():
        save(figure, claim.folder / name, what_is_shown(claim, name, written, epochs))
    for name, text in written.items():  # README.md last, because it links to all other files
        write_file(claim.folder / name, text)
    return rows


def what_is_shown(claim: Claim, name: str, written: dict[str, str], epochs: pd.DataFrame | None) -> str:
    """Returns a digest (16 hex digits) of a figure's inputs: runs, results, curves and its settings in ``claim.yaml``.

    Args:
        claim: the figure's claim.
        name: of the figure.
        written: the texts of the claim's folder, see ``texts``.
        epochs: the rows of curves.csv.gz; None if the figure was drawn before this file existed.
    """
    files = [written.get(each) for each in ("runs.csv", "reproduced.csv", "ceilings.csv")]
    if epochs is not None:
        files.append(committed_curves.as_text(epochs))
    settings = dataclasses.asdict(claim.settings.figures[name])
    of = json.dumps([settings, *files], default=lambda choice: choice.name)
    return hashlib.sha256(of.encode()).hexdigest()[:16]


def save(figure: Figure, path: Path, shown: str) -> None:
    """Writes a figure as PNG with 256 colours, a third of the full size, because it is committed and in the report.

    Raises:
        CannotWrite: names the file.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    drawn, about = io.BytesIO(), PngInfo()
    figure.savefig(drawn, dpi=110, format="png")
    about.add_text(_SHOWN, shown)
    # Of Pillow's methods, this one keeps the colours of few pixels.
    in_full = Image.open(drawn).convert("RGB")
    picture = in_full.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    with atomic_write(path) as unfinished:
        picture.save(unfinished, "PNG", optimize=True, pnginfo=about)


def shown_by(path: Path) -> str | None:
    """Returns the digest that ``save`` wrote into a picture; None if there is no such picture."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return str(picture.info.get(_SHOWN))
    except OSError:
        return None


def texts(
    claim: Claim, rows: pd.DataFrame, runs: pd.DataFrame, ceilings: pd.DataFrame, *, whole: bool
) -> dict[str, str]:
    """Returns the text files of a claim's folder that the program owns, by name; without figures and curves.

    Args:
        claim: the claim of the folder.
        rows: the rows of reproduced.csv.
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
