"""Small claims for several test modules."""

from pathlib import Path

from seqadd.claims.claim import BEGIN, END

SWEEP = """defaults:
  - config
  - _self_

cell: simple_rnn
jit: false
epochs: 3
batch_size: 20
encoder_units: 6
decoder_units: 5
task: {digits: 1, n_questions: 55, held_out: 0.2}
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      seed: range(2)
    sweeps:
      - {reverse: true}
      - {reverse: false, epochs: 2}
"""

PUBLISHED = """reverse,epochs,metric,relation,value,than,source
true,3,val_acc,equal,0.4,,a table
true,2,val_acc,above,,reverse=false,a sentence
true,3,best_acc,,,,
"""

SETTINGS = """fewest_seeds: 2
figures:
  curves.png: {kind: curves, metrics: [val_acc]}
"""


def make_claim(experiments: Path, name: str = "small", **files: str) -> Path:
    """Makes a claim's folder; ``files`` replace the texts of ``sweep``, ``published``, ``claim`` and ``readme``."""
    folder = experiments / name
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(files.get("sweep", SWEEP))
    (folder / "published.csv").write_text(files.get("published", PUBLISHED))
    (folder / "claim.yaml").write_text(files.get("claim", SETTINGS))
    readme = f"# {name}: a claim\n\n**Claim**: it learns.\n\n{BEGIN}\n{END}\n\n![curves](curves.png)\n"
    (folder / "README.md").write_text(files.get("readme", readme))
    return folder
