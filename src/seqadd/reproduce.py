"""Every claim of the article, brought up to date: runs what is missing, rewrites its results, gives its verdict.

    python -m seqadd.reproduce
    python -m seqadd.reproduce cells dense --seeds 3
    python -m seqadd.reproduce --check

A claim is a folder of ``experiments/``; see ``seqadd.claims``.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import math
import os
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hydra import initialize_config_dir

from seqadd import claim_figures, claims, report, results
from seqadd.ceilings import Law, law_of_sets, of_law, of_set, reader_of
from seqadd.checkpoints import CODE
from seqadd.claims import Claim
from seqadd.config import Config, ConfigError, check_machine, known_keys, packaged
from seqadd.exits import command
from seqadd.files import CannotWrite, replacing, write_whole
from seqadd.results import NotReproduced, plain
from seqadd.run import data_digest, draw
from seqadd.sweeps import print_line, run_sweep
from seqadd.table import composed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from seqadd.tracking import RecordedRun, Store

#: What a run takes beside its epochs: imports and compilation (benchmarks/fixed_cost.py).
_SECONDS_BESIDE = 10.0

# What a picture follows from is written into it under this name.
_SHOWN = "seqadd"

# Columns of runs.csv in which two trainings of the same run cannot differ.
_OF_THE_NUMBERS = ("epochs", "first_losses", "data_digest")

Found = dict[tuple[int, int], "RecordedRun"]


@dataclass(frozen=True)
class Measured:
    """What the store holds of a claim: a run for each condition (index) and seed, and its curves."""

    runs: pd.DataFrame
    curves: dict[tuple[int, int, str], dict[int, float]]


def found_runs(store: Store, claim: Claim) -> Found:
    """A finished run for each condition and seed that is as long as the claim needs it, by the code that is here now.

    Of several the shortest, so that another claim's longer runs change nothing, and of these the newest.
    """
    found: Found = {}
    for index, condition in enumerate(claim.conditions):
        wanted = {job.seed: job.epochs for job in condition.jobs}
        for run in store.condition_runs(condition.config.condition_hash()):  # oldest first
            seed, epochs = int(run.params["seed"]), int(run.params["epochs"])
            if run.tags.get("code") != CODE or epochs < wanted.get(seed, math.inf):
                continue
            before = found.get((index, seed))
            if before is None or epochs <= int(before.params["epochs"]):
                found[index, seed] = run
    return found


def missing_jobs(claim: Claim, found: Found) -> list[Config]:
    """The runs of a claim that have yet to be trained."""
    return [
        job
        for index, condition in enumerate(claim.conditions)
        for job in condition.jobs
        if (index, job.seed) not in found
    ]


def seconds_needed(claim: Claim, jobs: Sequence[Config], store: Store, trained: dict[str, int]) -> float:
    """About how many seconds of one processor some of a claim's runs take: as measured last time, else estimated.

    Args:
        claim: that they belong to.
        jobs: the runs.
        store: may have shorter runs that they go on from.
        trained: epochs that claims before this one will have trained, by trajectory; this one's are added.
    """
    known: dict[str, float] = {}
    with suppress(ConfigError):
        for label, of_label in results.read_runs(claim.folder).groupby("condition"):
            known[str(label)] = statistics.median(map(float, of_label["seconds_per_epoch"]))
    labels = {condition.config.condition_hash(): condition.label for condition in claim.conditions}
    needed = 0.0
    for job in jobs:
        behind = [int(run.params["epochs"]) for run in store.shorter_runs(job)[:1]]
        left = job.epochs - max(trained.get(job.trajectory_hash(), 0), *behind, 0)
        if left > 0:
            trained[job.trajectory_hash()] = job.epochs
            needed += _SECONDS_BESIDE + left * known.get(labels[job.condition_hash()], job.seconds_per_epoch())
    return needed


def train(store: Store, claim: Claim, found: Found, at_once: int | None) -> None:
    """Trains what is missing of a claim, as a sweep under one parent run; again, what other code has trained.

    Raises:
        JobsFailed: when some did not finish.
        RecordWaits: when the store could not be told.
    """
    from seqadd import jobs

    where = {job.config_hash(): (i, job.seed) for i, each in enumerate(claim.conditions) for job in each.jobs}
    configs = claim.jobs
    names = [
        f"{condition.label} seed={job.seed}" if len(claim.conditions) > 1 else f"seed={job.seed}"
        for condition in claim.conditions
        for job in condition.jobs
    ]
    finished = {
        n: found[where[job.config_hash()]].run_id for n, job in enumerate(configs) if where[job.config_hash()] in found
    }

    def launch(missing: list[int], parent_run_id: str) -> list[str]:
        chosen = []
        for n in missing:
            place = dataclasses.replace(configs[n].tracking, parent_run_id=parent_run_id)
            by_other_code = store.finished_run(configs[n], lambda n=n: data_digest(configs[n])) is not None  # type: ignore[misc]
            chosen.append(dataclasses.replace(configs[n], tracking=place, force=by_other_code))
        return jobs.run_all([names[n] for n in missing], chosen, at_once)

    run_sweep(f"claim {claim.name}", claim.name, {"claim": claim.name, "jobs": len(configs)}, names, configs, launch,
              finished)  # fmt: skip


def measured(store: Store, claim: Claim, found: Found) -> Measured:
    """Reads the runs of a claim from the store."""
    import pandas as pd

    metrics = sorted(claim_figures.metrics_of(claim))
    rows, curves = [], {}
    for (index, seed), run in sorted(found.items()):
        condition = claim.conditions[index]
        (epochs,) = (job.epochs for job in condition.jobs if job.seed == seed)
        for metric in metrics:
            curve = store.history(run.run_id, metric)
            curves[index, seed, metric] = {epoch: value for epoch, value in curve.items() if epoch <= epochs}
        took = [value for epoch, value in store.history(run.run_id, "epoch_seconds").items() if epoch <= epochs]
        losses = store.history(run.run_id, "loss")
        changed = " with changes" if run.tags.get("git_dirty") == "true" else ""
        rows.append(
            {
                "condition": condition.label,
                "seed": str(seed),
                "epochs": str(epochs),
                "seconds_per_epoch": f"{statistics.median(took):.4f}",
                # So that other code can be held against a run without training it to its end.
                "first_losses": " ".join(f"{losses[epoch]:.9g}" for epoch in (1, 2) if epoch in losses),
                # Of a longer run: those at its end.
                "weights_sha256": plain(run.tags.get("weights_sha256", "unknown")),
                "data_digest": plain(run.tags.get("data_digest", "unknown")),
                "code": CODE,
                "commit": plain(run.tags.get("git_commit", "unknown"))[:12] + changed,
                "versions": plain(f"TensorFlow {run.tags.get('tensorflow')}, Keras {run.tags.get('keras')}"),
                "machine": plain(run.tags.get("machine", "unknown machine")),
            }
        )
    return Measured(pd.DataFrame(rows, columns=list(results.RUN)), curves)


def values_of(claim: Claim, curves: claim_figures.Curves) -> list[dict[int, float]]:
    """For each statement by seed: what its metric came to, or the difference between its two conditions."""
    values = []
    for statement in claim.statements:
        metric = claims.base_metric(statement.metric)

        def value(condition: int, seed: int, epochs: int, statement: claims.Statement = statement,
                  metric: str = metric) -> float:  # fmt: skip
            return results.measure(statement.metric, dict(curves.get((condition, seed, metric), {})), epochs)

        by_seed = {
            job.seed: value(statement.condition, job.seed, statement.epochs)
            for job in claim.conditions[statement.condition].jobs
        }
        if statement.than is not None:
            other, epochs = statement.than
            by_seed = {seed: this - value(other, seed, epochs) for seed, this in by_seed.items()}
        values.append({seed: each for seed, each in by_seed.items() if not math.isnan(each)})
    return values


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
        with initialize_config_dir(str(packaged("conf")), version_base="1.3"):
            named[spec.reader, " ".join(spec.overrides)] = [composed(list(spec.overrides))]
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
    table = pd.DataFrame(rows, columns=["reader", "condition", "over", "ceiling"])
    return table.assign(ceiling=[f"{value:.6f}" for value in table["ceiling"]])


def write(claim: Claim, values: Sequence[dict[int, float]], read: Measured) -> pd.DataFrame:
    """Writes everything in a claim's folder that is the program's; returns the rows of reproduced.csv.

    Raises:
        CannotWrite: naming the file; what was there before is untouched.
    """
    rows, ceilings = results.results(claim, values, read.runs), ceilings_of(claim)
    drawn = {name: claim_figures.draw(claim, name, read.curves, rows, ceilings) for name in claim.settings.figures}
    written = texts(claim, rows, read.runs, ceilings)
    for name, figure in drawn.items():
        save(figure, claim.folder / name, what_is_shown(claim, name, written))
    for name, text in written.items():  # README.md last: it says that all the rest is there
        write_whole(claim.folder / name, text)
    return rows


def what_is_shown(claim: Claim, name: str, written: dict[str, str]) -> str:
    """16 hex digits of what a figure follows from: the runs, the results and what ``claim.yaml`` says of it."""
    of = json.dumps(
        [str(claim.settings.figures[name]), written["runs.csv"], written["reproduced.csv"], written.get("ceilings.csv")]
    )
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
    with replacing(path) as unfinished:
        picture.save(unfinished, "PNG", optimize=True, pnginfo=about)


def shown_by(path: Path) -> str | None:
    """What ``save`` wrote into a picture; None where there is no such picture."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return str(picture.info.get(_SHOWN))
    except OSError:
        return None


def texts(claim: Claim, rows: pd.DataFrame, runs: pd.DataFrame, ceilings: pd.DataFrame) -> dict[str, str]:
    """The files of a claim's folder that are the program's, but the figures."""
    readme = (claim.folder / "README.md").read_text(encoding="utf-8")
    return {
        "runs.csv": results.to_csv(runs),
        "reproduced.csv": results.to_csv(rows),
        **({"ceilings.csv": results.to_csv(ceilings)} if len(ceilings) else {}),
        "table.md": results.table(claim, rows) + results.ceilings_table(ceilings),
        "README.md": results.readme_with(readme, results.summary(rows, runs)),
    }


def check_folder(claim: Claim) -> list[str]:
    """What in a claim's folder does not follow from the rest of it and the code, a line each; asks no store."""
    try:
        rows, runs = results.read_rows(claim.folder), results.read_runs(claim.folder)
    except ConfigError as error:
        return [str(error)]
    said = []
    wanted = {
        (condition.label, str(job.seed)): str(job.epochs) for condition in claim.conditions for job in condition.jobs
    }
    there = {(label, seed): epochs for label, seed, epochs in runs[["condition", "seed", "epochs"]].to_numpy()}
    if wanted != there:
        absent, surplus = len(wanted.items() - there.items()), len(there.items() - wanted.items())
        said.append(f"runs.csv lacks {absent} runs of sweep.yaml and has {surplus} that are not in it")
    codes = sorted(set(runs["code"]) - {CODE})
    if codes:
        said.append(
            f"runs.csv: {len(runs[runs['code'].isin(codes)])} runs are by other code than this ({', '.join(codes)})"
        )
    if any("with changes" in commit or commit == "unknown" for commit in runs["commit"]):
        said.append("runs.csv: some runs are by code that no commit has")
    if len(rows) != len(claim.statements):
        return [*said, f"reproduced.csv has {len(rows)} statements, published.csv {len(claim.statements)}"]
    values = [results.written_values(text) for text in rows["values"]]
    for line, (statement, by_seed) in enumerate(zip(claim.statements, values, strict=True), start=2):
        seeds = {job.seed for job in claim.conditions[statement.condition].jobs}
        if not by_seed.keys() <= seeds or (statement.relation != "" and by_seed.keys() != seeds):
            said.append(f"reproduced.csv: line {line}: has values for other seeds than sweep.yaml")
    again = texts(claim, results.results(claim, values, runs), runs, ceilings_of(claim))
    for name, text in again.items():
        path = claim.folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            said.append(f"{name} is not what follows from values and runs")
    for name in claim.settings.figures:
        if shown_by(claim.folder / name) != what_is_shown(claim, name, again):
            said.append(f"{name} is missing or shows something else")
    return said


def check_store(store: Store, claim: Claim) -> tuple[list[str], int]:
    """What in a claim's folder is not what the store says, and how many of its runs the store has."""
    found = found_runs(store, claim)
    read = measured(store, claim, found)
    try:
        rows, runs = results.read_rows(claim.folder), results.read_runs(claim.folder)
    except ConfigError:
        return [], len(found)  # check_folder says so
    said = []
    then = {(row["condition"], row["seed"]): row for row in runs.to_dict("records")}
    for now in read.runs.to_dict("records"):
        committed = then.get((now["condition"], now["seed"]), now)
        other = [name for name in _OF_THE_NUMBERS if committed[name] != now[name]]
        if other:
            said.append(f"runs.csv: {now['condition']} seed {now['seed']}: the store has other {', '.join(other)}")
    for line, (statement, values, text) in enumerate(
        zip(claim.statements, values_of(claim, read.curves), rows["values"], strict=False), start=2
    ):
        committed_values = results.written_values(text)
        seeds = [str(seed) for seed, value in values.items() if committed_values.get(seed) != round(value, 6)]
        if seeds:
            said.append(
                f"reproduced.csv: line {line}: {statement.metric}: the store has another for seed {', '.join(seeds)}"
            )
    return said, len(found)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of ``python -m seqadd.reproduce``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.reproduce",
        description="Brings the claims of the article up to date: trains what is missing, writes results and report.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  python -m seqadd.reproduce\n  python -m seqadd.reproduce cells dense --dry-run\n"
        "  python -m seqadd.reproduce era --seeds 2\n  python -m seqadd.reproduce --check",
    )
    parser.add_argument(
        "claims",
        nargs="*",
        metavar="CLAIM",
        help="folders of experiments/ (default: all); tracking.KEY=VALUE says where runs are recorded",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="seeds 0 to N-1 of each condition instead of the claim's own, for a first impression: the table is "
        "printed and nothing written",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: one a core)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="train and write nothing; say what of the results does not follow from the code, the store or each other, "
        "and exit 1 if anything",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained and what it would cost")
    parser.add_argument(
        "--experiments",
        type=Path,
        default=packaged("experiments"),
        metavar="FOLDER",
        help="where the claims are (default: those of the article)",
    )
    options = parser.parse_intermixed_args(arguments)
    options.overrides = [each for each in options.claims if "=" in each]
    options.claims = [each for each in options.claims if "=" not in each]
    return options


def check_arguments(options: argparse.Namespace) -> None:
    """Checks what was asked for.

    Raises:
        ConfigError: for what cannot be, in one line.
    """
    known = claims.names(options.experiments)
    for name in options.claims:
        if name not in known:
            raise ConfigError(f"{name}: no such claim; there are {', '.join(known)}")
    for override in options.overrides:
        key = override.partition("=")[0]
        if not key.startswith("tracking.") or key not in known_keys():
            raise ConfigError(f"{override}: a claim says itself what is run; only tracking.KEY=VALUE can be given")
    if options.check and (options.seeds is not None or options.dry_run):
        raise ConfigError("--check: trains nothing and looks at all seeds; leave --seeds and --dry-run out")
    for name in ("seeds", "jobs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ConfigError(f"--{name} {getattr(options, name)}: must be at least 1")


def with_seeds(claim: Claim, n: int) -> Claim:
    """The claim with seeds 0 to n - 1 for each condition."""
    conditions = [
        dataclasses.replace(each, jobs=[dataclasses.replace(each.config, seed=seed) for seed in range(n)])
        for each in claim.conditions
    ]
    return dataclasses.replace(claim, conditions=conditions)


def main() -> None:
    """Command line of ``python -m seqadd.reproduce``."""
    with command():
        options = parse_arguments()
        check_arguments(options)
        chosen = claims.read_all(options.experiments, options.claims, options.overrides)
        if options.check:
            _check(options, chosen)
        else:
            _bring_up_to_date(options, chosen)


def _check(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    from seqadd import tracking

    where = chosen[0].jobs[0].tracking
    path = tracking.sqlite_path(where.uri)
    store = None
    if path is None or path.exists() or options.overrides:
        store = tracking.open_store(where, create=False)
    wrong = 0
    for claim in chosen:
        said = check_folder(claim)
        held = "no store here"
        if store is not None:
            of_store, n = check_store(store, claim)
            said, held = said + of_store, f"{n} of its {len(claim.jobs)} runs held against the store"
        wrong += len(said)
        print_line(f"{claim.name:<20} {f'ok ({held})' if not said else '; '.join(said)}")
    if not options.claims and not _is_packed(options.experiments):
        said = report.check(options.experiments, chosen)
        wrong += len(said)
        print_line(f"{'report':<20} {'ok' if not said else '; '.join(said)}")
    if wrong:
        raise NotReproduced("what is said above does not follow; python -m seqadd.reproduce brings it up to date")


def _is_packed(experiments: Path) -> bool:
    """Whether the claims are those of an installed package, in which nothing is to be written."""
    return experiments.resolve().is_relative_to(Path(__file__).resolve().parent)


def _bring_up_to_date(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    from seqadd import jobs, tracking

    if options.seeds is not None:
        chosen = [with_seeds(claim, options.seeds) for claim in chosen]
    for claim in chosen:
        for condition in claim.conditions:
            check_machine(condition.config)
        packed, writes = _is_packed(options.experiments), not options.dry_run and options.seeds is None
        if writes and (packed or not os.access(claim.folder, os.W_OK)):
            why = "belongs to the installed package" if packed else "cannot be written"
            raise CannotWrite(f"{claim.folder}: {why}; copy {claim.folder.parent} and name the copy with --experiments")
    store = tracking.open_store(chosen[0].jobs[0].tracking)
    store.settle()
    most = jobs.jobs_at_once([condition.config for claim in chosen for condition in claim.conditions])
    if options.jobs is not None and options.jobs > most:
        raise ConfigError(f"--jobs {options.jobs}: must be at most {most}, for which there are processors and memory")
    at_once = options.jobs or most
    # Claims share runs: what an earlier one trains costs a later one nothing.
    trained: dict[str, int] = {}
    lacking, costs = {}, {}
    for claim in chosen:
        lacking[claim.name] = missing_jobs(claim, found_runs(store, claim))
        costs[claim.name] = seconds_needed(claim, lacking[claim.name], store, trained)
    for claim in chosen:
        n = len(lacking[claim.name])
        cost = f", about {results.duration(costs[claim.name])} of one processor" if n else ""
        print_line(f"{claim.name:<20} {len(claim.jobs)} runs, {n} missing{cost}")
    whole = results.duration(sum(costs.values()))
    print_line(f"{'in all':<20} about {whole} of one processor, {at_once} run{'s' * (at_once > 1)} at once")
    if options.dry_run:
        return
    failed = []
    for position, claim in enumerate(chosen, start=1):
        found = found_runs(store, claim)
        missing = missing_jobs(claim, found)
        if missing:
            left = results.duration(sum(costs[each.name] for each in chosen[position - 1 :]) / at_once)
            print_line(f"[{position}/{len(chosen)}] {claim.name}: {claim.title} (all claims: about {left} left)")
            try:
                train(store, claim, found, options.jobs)
            except jobs.JobsFailed as error:
                failed.append(f"{claim.name}: {error}")
            found = found_runs(store, claim)
        read = measured(store, claim, found)
        values = values_of(claim, read.curves)
        if options.seeds is None and len(read.runs) == len(claim.jobs):
            rows, kept = write(claim, values, read), ""
        else:
            rows = results.results(claim, values, read.runs)
            kept = f" ({len(read.runs)} runs; what {claim.folder.name} holds was left as it is)"
            print_line(results.table(claim, rows))
        print_line(f"[{position}/{len(chosen)}] {claim.name}: {results.in_words(rows)}{kept}")
    if options.seeds is None:
        for path in report.write(options.experiments):
            print_line(f"report: {path}")
    if failed:
        raise NotReproduced("; ".join(failed))


if __name__ == "__main__":
    main()
