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

from seqadd import claim_figures, curves, results
from seqadd.ceilings import Law, law_of_sets, of_law, of_set, reader_of
from seqadd.claim_runs import collected, counting, found_runs, measured, runs_in, values_of
from seqadd.claims import Claim
from seqadd.codes import code_version, same_numbers
from seqadd.config.composition import compose_config
from seqadd.config.schema import Config
from seqadd.errors import ConfigError
from seqadd.system.files import atomic_write, resource_dir, write_file
from seqadd.train import draw

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from seqadd.tracking.store import Store

# What a picture follows from is written into it under this name.
_SHOWN = "seqadd"
_CEILING = ("reader", "condition", "over", "ceiling")
# Columns of runs.csv in which two trainings of the same run cannot differ, wherever they were; and in which they cannot
# on the same machine with the same versions.
_OF_THE_SUMS = ("epochs", "data_digest")
_OF_THE_NUMBERS = (*_OF_THE_SUMS, "first_losses")
_OF_THE_PLACE = ("machine", "versions")


def ceilings_of(claim: Claim) -> pd.DataFrame:
    """The rows of ceilings.csv: what the models of the claim, and whatever else it names, can reach at best.

    ``over``: the law of the generator's sets; the set of a seed, where a model may know every answer by heart; or that
    part of it that is trained on, and that ``acc`` is measured over.
    """
    import pandas as pd

    named: dict[tuple[str, str], list[Config]] = {}
    for condition in claim.conditions:
        reader = reader_of(condition.config)
        if reader is not None:
            named[reader, condition.label] = condition.jobs
    for spec in claim.settings.ceilings:
        with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
            named[spec.reader, " ".join(spec.overrides)] = [compose_config(list(spec.overrides))]
    laws: dict[tuple[int, int], Law] = {}
    rows = []
    for (reader, label), jobs in named.items():
        task = jobs[0].task
        law = laws.setdefault((task.digits, task.n_questions), law_of_sets(task.digits, task.n_questions))
        rows.append((reader, label, "law", of_law(law, reader, jobs[0])))
        for job in jobs:
            data = draw(job)
            questions = np.concatenate([data.train_questions, data.val_questions])
            answers = np.concatenate([data.train_answers, data.val_answers])
            rows.append((reader, label, f"set of seed {job.seed}", of_set(questions, answers, reader)))
            trained_on = of_set(data.train_questions, data.train_answers, reader)
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
    drawn = {name: claim_figures.draw(claim, name, read.curves, rows, ceilings) for name in claim.settings.figures}
    written = texts(claim, rows, read.runs, ceilings, whole=True)
    curves.write(claim.folder / curves.NAME, epochs)
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
        files.append(curves.as_text(epochs))
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
        "table.md": results.table(claim, rows) + results.ceilings_table(ceilings),
        "README.md": results.readme_with(readme, results.summary(rows, runs, curves=whole)),
    }


def check_folder(claim: Claim) -> list[str]:
    """What in a claim's folder does not follow from the rest of it and the code, a line each; asks no store.

    Where curves.csv.gz has all runs, everything has to follow from it; where not yet, from the values and the runs.
    """
    try:
        rows, runs = results.read_rows(claim.folder), results.read_runs(claim.folder)
        every = curves.read(claim.folder / curves.NAME)
        epochs = counting(claim, every, by_any_code=True)
    except ConfigError as error:
        return [str(error)]
    said = _check_runs(claim, runs)
    others = len(every.drop_duplicates(["condition", "seed"])) - len(runs_in(claim, epochs))
    if others:
        said.append(f"{curves.NAME}: {others} runs are not those that sweep.yaml and the defaults give now")
    if len(rows) != len(claim.statements):
        return [*said, f"reproduced.csv has {len(rows)} statements, published.csv {len(claim.statements)}"]
    values = [results.written_values(text) for text in rows["values"]]
    for line, (statement, by_seed) in enumerate(zip(claim.statements, values, strict=True), start=2):
        seeds = {job.seed for job in claim.conditions[statement.condition].jobs}
        if not by_seed.keys() <= seeds or (statement.relation != "" and by_seed.keys() != seeds):
            said.append(f"reproduced.csv: line {line}: has values for other seeds than sweep.yaml")
    whole = len(runs_in(claim, epochs)) == len(claim.jobs)
    if whole:
        read = measured(claim, epochs)
        values, runs = values_of(claim, read.curves), read.runs
    again = texts(claim, results.results(claim, values, runs), runs, ceilings_of(claim), whole=whole)
    for name, text in again.items():
        path = claim.folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            said.append(f"{name} is not what follows from {'the curves' if whole else 'values and runs'}")
    for name in claim.settings.figures:
        if shown_by(claim.folder / name) != what_is_shown(claim, name, again, epochs if whole else None):
            said.append(f"{name} is missing or shows something else")
    return said


def _check_runs(claim: Claim, runs: pd.DataFrame) -> list[str]:
    """What is wrong with the rows of runs.csv, a line each."""
    said = []
    wanted = {
        (condition.label, str(job.seed)): str(job.epochs) for condition in claim.conditions for job in condition.jobs
    }
    there = {(label, seed): epochs for label, seed, epochs in runs[["condition", "seed", "epochs"]].to_numpy()}
    if wanted != there:
        absent, surplus = len(wanted.items() - there.items()), len(there.items() - wanted.items())
        said.append(f"runs.csv lacks {absent} runs of sweep.yaml and has {surplus} that are not in it")
    codes = sorted(set(runs["code"]) - same_numbers())
    if codes:
        said.append(
            f"runs.csv: {len(runs[runs['code'].isin(codes)])} runs are by other code than this ({', '.join(codes)})"
        )
    return said


def uncommitted(claim: Claim) -> list[str]:
    """What of a result of this project's own clone is by code that no commit has, in one line; else nothing.

    Outside a clone, and of claims of somebody's own, the digest of the code says which it was: see ``check_folder``.
    """
    if claim.folder.resolve().parent != resource_dir("experiments") or code_version()[1] != "true":
        return []
    try:
        changed = results.read_runs(claim.folder)["commit"].str.endswith("with changes").sum()
    except ConfigError:
        return []  # check_folder says so
    said = f"runs.csv: {changed} runs are by code that no commit has: commit src, conf and pyproject.toml"
    return [said] if changed else []


def check_store(store: Store, claim: Claim) -> tuple[list[str], int]:
    """What in a claim's folder is not what the store says, and how many of its runs were held against the store.

    A run that another machine or other versions have trained rounds in another way, so only its sums are compared.
    """
    found = found_runs(store, claim)
    read = measured(claim, collected(store, claim, found, curves.empty()))
    try:
        rows, runs = results.read_rows(claim.folder), results.read_runs(claim.folder)
    except ConfigError:
        return [], len(found)  # check_folder says so
    said = []
    then = {(row["condition"], row["seed"]): row for row in runs.to_dict("records")}
    same: set[tuple[str, str]] = set()
    for now in read.runs.to_dict("records"):
        where = now["condition"], now["seed"]
        row = then.get(where, now)
        if all(row[name] == now[name] for name in _OF_THE_PLACE):
            same.add(where)
        other = [name for name in (_OF_THE_NUMBERS if where in same else _OF_THE_SUMS) if row[name] != now[name]]
        if other:
            said.append(f"runs.csv: {where[0]} seed {where[1]}: the store has other {', '.join(other)}")
    for line, (statement, values, text) in enumerate(
        zip(claim.statements, values_of(claim, read.curves), rows["values"], strict=False), start=2
    ):
        written = results.written_values(text)
        of = {statement.condition, *([statement.than[0]] if statement.than else [])}
        seeds = [
            str(seed)
            for seed, value in values.items()
            if all((claim.conditions[index].label, str(seed)) in same for index in of)
            and written.get(seed) != round(value, 6)
        ]
        if seeds:
            said.append(
                f"reproduced.csv: line {line}: {statement.metric}: the store has another for seed {', '.join(seeds)}"
            )
    return said, len(same)
