"""The committed curves of a claim's runs: metrics of every epoch, and their provenance. Opens no store.

``curves.csv.gz`` in a claim's folder has a row for each epoch of each run. ``seqadd.reproduce`` computes all other
results of a claim from it, so that verdicts, tables and figures need neither a store nor training.
"""

from __future__ import annotations

import gzip
import io
import statistics
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.config.messages import one_line
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir, write_file

if TYPE_CHECKING:
    import pandas as pd

#: The file's name in a claim's folder.
NAME = "curves.csv.gz"

#: Columns that identify a row's run and epoch: ``condition`` is the condition's label in the claim, ``epoch`` counts
#: from 1.
KEY = ("condition", "seed", "epoch")
#: Columns with the same value in all rows of a run; they follow the columns of the metrics.
RUN = (
    "seconds_per_epoch", "weights_sha256", "data_digest", "code", "commit", "versions", "machine", "condition_hash",
)  # fmt: skip

_NUMBERS = {"seed": "int64", "epoch": "int64", "seconds_per_epoch": "float64"}


def load_curves(claim: str, experiments: Path | None = None) -> pd.DataFrame:
    """Returns every metric of every epoch of a claim's runs.

    Args:
        claim: the name of its folder, as ``cells``.
        experiments: the folder of claims; by default those of the article, which seqadd brings with it.

    Returns:
        A row for each epoch of each run, with ``condition``, ``seed``, ``epoch`` (from 1), a column for each metric
        (shares in 0..1, losses in nats, to nine digits; NaN where a run has none), and the run's provenance, such as
        ``commit``, ``versions`` and ``machine``.

    Raises:
        ConfigError: when there is no such file, or it is damaged.

    Source: the file ``curves.csv.gz`` in the claim's folder; ``python -m seqadd.reproduce`` writes it.

    Example:
        >>> curves = load_curves("cells")
        >>> means = curves[curves["epoch"] == 200].groupby("condition")["val_acc"].mean()
        >>> means.round(1).to_dict()
        {'gru': 0.8, 'lstm': 1.0, 'simple_rnn': 0.9}
    """
    path = (experiments or resource_dir("experiments")) / claim / NAME
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; python -m seqadd.reproduce {claim} creates it")
    return read(path)


def empty() -> pd.DataFrame:
    """Returns a table of curves without rows."""
    import pandas as pd

    return pd.DataFrame(columns=[*KEY, *RUN]).astype(_NUMBERS)


def read(path: Path) -> pd.DataFrame:
    """Reads a file as ``load_curves`` does; returns no rows if there is no file.

    Raises:
        ConfigError: when it is damaged.
    """
    import pandas as pd

    if not path.is_file():
        return empty()
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        columns = text.partition("\n")[0].split(",")
        lacking = [column for column in (*KEY, *RUN) if column not in columns]
        if lacking:
            raise ValueError(f"lacks the column {', '.join(lacking)}")
        kinds = dict.fromkeys(columns, "float64") | dict.fromkeys({"condition", *RUN}, "str") | _NUMBERS
        return pd.read_csv(io.StringIO(text), dtype=kinds)  # type: ignore[arg-type]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        message = f"{path}: {one_line(error)}; restore the file, or delete it and reproduce the claim"
        raise ConfigError(message) from error


def read_all(experiments: Path) -> pd.DataFrame:
    """Returns the rows of all files of curves in a folder of claims.

    Raises:
        ConfigError: when one is damaged.
    """
    import pandas as pd

    return pd.concat([empty(), *map(read, sorted(experiments.glob(f"*/{NAME}")))], ignore_index=True)


def write(path: Path, rows: pd.DataFrame) -> None:
    """Writes the file; the same rows give the same bytes, and a file with the same rows is left alone.

    Raises:
        CannotWrite: names the file; the file before is unchanged.
    """
    text = as_text(rows)
    if path.is_file() and as_text(read(path)) == text:
        return
    write_file(path, gzip.compress(text.encode(), mtime=0))


def as_text(rows: pd.DataFrame) -> str:
    """Returns the text of the uncompressed file."""
    ordered = [*KEY, *metrics_of(rows), *RUN]
    return str(rows[ordered].to_csv(index=False, lineterminator="\n", float_format="%.9g"))


def metrics_of(rows: pd.DataFrame) -> list[str]:
    """Returns the names of the metrics' columns, ``loss`` and ``acc`` first."""
    first = ["loss", "acc", "val_loss", "val_acc", "val_exact_match"]
    named = set(rows.columns) - {*KEY, *RUN}
    return [*(name for name in first if name in named), *sorted(named - {*first})]


def of_run(history: Mapping[str, Mapping[int, float]], epochs: int, about: Mapping[str, str | int]) -> pd.DataFrame:
    """Returns the rows of one run.

    Args:
        history: values by metric and epoch; of ``epoch_seconds`` only the median is kept.
        epochs: how many of its epochs count; the run may have more.
        about: ``condition``, ``seed`` and the columns ``RUN`` except ``seconds_per_epoch``.
    """
    import pandas as pd

    rows = pd.DataFrame({name: pd.Series(curve) for name, curve in history.items()}).sort_index().loc[1:epochs]
    seconds = round(statistics.median(rows.pop("epoch_seconds").dropna()), 4)
    rows = rows.map(lambda value: float(f"{value:.9g}"))  # the precision of the file
    return rows.rename_axis("epoch").reset_index().assign(**about, seconds_per_epoch=seconds)
