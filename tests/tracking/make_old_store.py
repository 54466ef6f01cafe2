"""Made ``old_store.tar.gz``: a store and its ``unfinished`` folder by commit be10b21, before code moved into packages.

    git worktree add OLD be10b21
    PYTHONPATH=OLD/src USER=learner python tests/tracking/make_old_store.py old_store.tar.gz

It holds a finished run (seed 0, two epochs) and one that was killed after three of its five epochs (seed 1). The file
``digests.json`` has the weights_sha256 of each as that commit ends it without an interruption.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

from mlflow import MlflowClient

RUN = [
    "cell=gru", "jit=false", "task.digits=1", "task.n_questions=55", "task.held_out=0.2", "batch_size=20",
    "encoder_units=6", "decoder_units=5",
]  # fmt: skip
FOLDER = Path("/home/learner/sums")


def run_and_be_killed() -> None:
    """Runs a command of the old commit, with a checkpoint after each epoch, and kills it after the third."""
    from seqadd import run, unfinished

    def save_and_kill(self, checkpoint, *, save=unfinished.Unfinished.save):
        save(self, checkpoint)
        if len(checkpoint.history) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    unfinished.Unfinished.save = save_and_kill
    unfinished.Unfinished.checkpoint_is_due = lambda self: True
    run.main()


def digest_of(folder: Path, *arguments: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "seqadd.run", *RUN, *arguments], cwd=folder, check=True)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("seqadd").experiment_id], max_results=1)
    return run.data.tags["weights_sha256"]


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    digests = {"finished": digest_of(FOLDER, "epochs=2")}
    digests["longer"] = digest_of(FOLDER / "longer", "epochs=3")
    digests["killed"] = digest_of(FOLDER / "whole", "epochs=5", "seed=1")
    subprocess.run([sys.executable, __file__, "killed", *RUN, "epochs=5", "seed=1"], cwd=FOLDER, check=False)
    (FOLDER / "digests.json").write_text(json.dumps(digests, indent=1))
    shutil.rmtree(FOLDER / "longer")
    shutil.rmtree(FOLDER / "whole")
    with tarfile.open(sys.argv[1], "w:gz") as archive:
        archive.add(FOLDER, ".")


if __name__ == "__main__":
    if sys.argv[1] == "killed":
        del sys.argv[1]
        run_and_be_killed()
    else:
        main()
