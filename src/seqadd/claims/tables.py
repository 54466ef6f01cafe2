"""Formats a claim's results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seqadd.claims import verdicts
from seqadd.claims.claim import BEGIN, END, UNTIL, Claim, is_fraction
from seqadd.claims.results import counts, seconds
from seqadd.config.schema import known_keys
from seqadd.reporting import markup

if TYPE_CHECKING:
    import pandas as pd


def table(claim: Claim, rows: pd.DataFrame) -> str:
    """Returns table.md: reproduced.csv in readable form."""
    if claim.settings.columns is not None:
        return _across(claim, rows, claim.settings.columns) + "\n" + _down(claim, rows)
    return _down(claim, rows)


def _across(claim: Claim, rows: pd.DataFrame, key: str) -> str:
    """Lays out published numbers as the article does: a column for each value of a key, with all metrics in a field."""
    columns: dict[str, None] = {}
    lines: dict[tuple[str, ...], dict[str, list[str]]] = {}
    keys = [name for name in rows.columns if name in known_keys() and name not in ("epochs", key)]
    others = [name for name in keys if rows[name].nunique() > 1]
    for statement, row in zip(claim.statements, rows.to_dict("records"), strict=True):
        if statement.value is None:
            continue
        columns[row[key]] = None
        line = lines.setdefault((row["epochs"], *(row[name] for name in others)), {})
        cell = f"`{row['metric']}` {row['value']}; {_mean(row)}, **{row['verdict']}**"
        line.setdefault(row[key], []).append(cell)
    header = ["epochs", *others, *(f"{column}: published; measured" for column in columns)]
    return markup.table(header, [[*line, *("<br>".join(of.get(c, [])) for c in columns)] for line, of in lines.items()])


def _down(claim: Claim, rows: pd.DataFrame) -> str:
    """Lays out every statement as a row; each kind of statement has its table."""
    of_numbers: list[list[str]] = []
    of_limits: list[list[str]] = []
    of_differences, of_others = [], []
    for statement, row in zip(claim.statements, rows.to_dict("records"), strict=True):
        what = [claim.conditions[statement.condition].label, row["epochs"], f"`{row['metric']}`"]
        seeds = _range(row["min"], row["max"])
        if statement.value is not None:
            published = ("" if row["relation"] == "equal" else f"{row['relation']} ") + row["value"]
            below = f"{row['below']} of {row['seeds']}" if row["below"] else ""
            interval = _range(row["low"], row["high"])
            numbers = of_limits if claim.settings.ours and row["relation"] != "equal" else of_numbers
            numbers.append([*what, published, _mean(row), seeds, interval, below, f"**{row['verdict']}**"])
        elif statement.than is not None:
            claimed = f"{row['relation']} {row['than']}".strip()
            effect = f"{float(row['effect']):+.1f}" if row["effect"] else ""
            seeds, interval = _range(row["min"], row["max"], "+"), _interval(row)
            of_differences.append([*what, claimed, _mean(row, "+"), seeds, interval, effect, _bold(row["verdict"])])
        else:
            if UNTIL.fullmatch(row["metric"]):
                seeds = _range(row["min"], row["max"], digits=0)
            n = f"{row['seeds']} of {len(claim.conditions[statement.condition].jobs)}"
            of_others.append([*what, _mean(row), seeds, n])
    what = ["condition", "epochs", "metric"]
    parts = [
        ([*what, "published", "measured", "range of seeds", "95 % of runs", "seeds below it", "verdict"], of_numbers),
        ([*what, "limit", "measured", "range of seeds", "95 % of runs", "seeds below it", "verdict"], of_limits),
        ([*what, "against", "difference", "range of seeds", "95 % interval", "effect size", "verdict"], of_differences),
        ([*what, "measured", "range of seeds", "seeds with a value"], of_others),
    ]
    return "\n".join(markup.table(header, lines) for header, lines in parts if lines)


def ceilings_table(ceilings: pd.DataFrame) -> str:
    """Returns the rows of ceilings.csv in readable form; empty if there are none."""
    lines = []
    for (reader, label), of in ceilings.astype(str).groupby(["reader", "condition"], sort=False):
        of_distribution = of.loc[of["over"] == "law", "ceiling"].iloc[0]
        parts = [of.loc[of["over"].str.startswith(part), "ceiling"] for part in ("set", "training set")]
        counted = [_range(part.min(), part.max()) for part in parts]
        lines.append([str(reader).replace("_", " "), str(label), _short(of_distribution), *counted])
    header = [
        "the model has read",
        "condition",
        "ceiling over the distribution",
        "over the seeds' sums",
        "over their training sets",
    ]
    return "\n" + markup.table(header, lines) if lines else ""


def _bold(verdict: str) -> str:
    return f"**{verdict}**" if verdict else ""


def _mean(row: Mapping[Any, Any], sign: str = "") -> str:
    if not row["mean"]:
        return "missing"
    digits = 1 if UNTIL.fullmatch(row["metric"]) else 4
    return _short(row["mean"], sign, digits) + (f" ± {_short(row['std'], '', digits)}" if row["std"] else "")


def _range(low: str, high: str, sign: str = "", digits: int = 4) -> str:
    return f"{_short(low, sign, digits)} to {_short(high, sign, digits)}" if low and high else ""


def _interval(row: Mapping[Any, Any]) -> str:
    """Formats the interval of a difference; of a difference of shares, only the part that is possible."""
    if not is_fraction(row["metric"]) or not row["low"]:
        return _range(row["low"], row["high"], "+")
    return _range(str(max(-1.0, float(row["low"]))), str(min(1.0, float(row["high"]))), "+")


def _short(number: str, sign: str = "", digits: int = 4) -> str:
    """Formats a number with ``digits`` decimals; numbers of 10 and more have none."""
    value = float(number)
    return f"{value:{sign}.{digits}f}" if abs(value) < 10 else f"{value:{sign}.0f}"


def in_words(rows: pd.DataFrame) -> str:
    """Summarizes the verdicts: ``22 of 24 reproduced, 1 not reproduced, 1 undecided``."""
    n = counts(rows)
    parts = [f"{n[verdicts.REPRODUCED]} of {sum(n.values())} {verdicts.REPRODUCED}"]
    parts += [f"{n[kind]} {kind}" for kind in (verdicts.NOT_REPRODUCED, verdicts.UNDECIDED) if n[kind]]
    return ", ".join(parts)


def duration(of_seconds: float) -> str:
    """Formats a number of seconds: ``35 s``, ``12 min``, ``3 h 20 min``."""
    if of_seconds < 60:
        return f"{of_seconds:.0f} s"
    hours, minutes = divmod(round(of_seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def summary(rows: pd.DataFrame, runs: pd.DataFrame, *, curves: bool = False) -> str:
    """Returns the text between the markers of README.md.

    Args:
        rows: the rows of reproduced.csv.
        runs: the rows of runs.csv.
        curves: whether curves.csv.gz has all these runs.
    """
    files = ["table.md", "reproduced.csv", "runs.csv", *(["curves.csv.gz"] if curves else [])]
    commits = ", ".join(sorted(set(runs["commit"])))
    versions, machines = ("; ".join(sorted(set(runs[name]))) for name in ("versions", "machine"))
    return (
        f"**{in_words(rows)}**: {', '.join(f'[{name}]({name})' for name in files)}.\n"
        f"{len(runs)} runs, {duration(seconds(runs))} of one processor; commit {commits};\n{versions}; {machines}.\n"
    )


def readme_with(text: str, results: str) -> str:
    """Returns a claim's README with new results between the markers."""
    before, _, rest = text.partition(BEGIN)  # each marker occurs once, see ``loading.read``
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{results}{END}{after}"
