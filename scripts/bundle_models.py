"""Writes the trained models that come with the package, from the runs of a store: ``trained/``.

    python -m seqadd.run -m cell=lstm,gru,simple_rnn epochs=10
    python -m seqadd.run -m cell=lstm,gru,simple_rnn epochs=200 inspect.every=50
    python scripts/bundle_models.py

The second command resumes the first one's runs. Run all three in one folder, with a clone that has no changes.
"""

from __future__ import annotations

import json
from pathlib import Path

from seqadd.config.schema import override_text
from seqadd.errors import RunNotFound
from seqadd.evaluation import bundled, run_selection
from seqadd.training import state

CELLS = ("lstm", "gru", "simple_rnn")
EPOCHS = (10, 50, 100, 200)
#: What an index keeps of a run's tags.
TAGS = (
    "code", "config_hash", "data_digest", "git_commit", "git_dirty", "keras", "machine", "numpy", "seqadd",
    "tensorflow", "weights_sha256",
)  # fmt: skip


def bundle(into: Path) -> None:
    """Writes weights, histories and index of the three cells to a folder."""
    index = {}
    for cell in CELLS:
        words = [f"cell={cell}", "seed=0", f"epoch={','.join(map(str, EPOCHS))}"]
        runs = run_selection.load_runs(words)
        digests = {}
        for run in runs:
            path = into / bundled.weights_file(cell, run.epoch)
            path.parent.mkdir(parents=True, exist_ok=True)
            state.save_weights(run.model, path)
            digests[str(run.epoch)] = state.weights_digest(run.model)
        last = runs[-1]
        if digests[str(last.epoch)] != last.tags["weights_sha256"] or last.epoch != last.config.epochs:
            raise RunNotFound(f"{last.origin}: must have the weights of its end")
        config = {key: override_text(value) for key, value in last.config.result_keys().items() if value is not None}
        tags = {key: last.tags[key] for key in TAGS}
        curves = {metric: list(values.values()) for metric, values in last.history.items() if values}
        (into / bundled.history_file(cell)).write_text(json.dumps(curves) + "\n", encoding="utf-8")
        index[cell] = {"config": config, "tags": tags, "weights_sha256": digests}
    (into / bundled.INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    bundle(bundled.folder())
