"""Which finished run makes a training unnecessary."""

from types import SimpleNamespace

import pytest
from conftest import make_config

from seqadd.tracking import resume

RUN = SimpleNamespace(tags={"slurm_job": "17_0"})
STORE = SimpleNamespace(finished_run=lambda config, digest: RUN)
DATA = SimpleNamespace(digest=str)


@pytest.mark.parametrize(
    ("force", "restarts", "job", "counts"),
    [
        ("false", "0", None, True),
        ("true", "0", "17_0", False),
        ("true", "1", "17_0", True),  # a job of several runs, requeued after this one had finished
        ("true", "1", "18_0", False),
        ("true", "1", None, False),
    ],
)
def test_with_force_only_a_run_of_this_requeued_job_counts(force, restarts, job, counts, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    monkeypatch.setattr(resume, "slurm_tags", lambda: {} if job is None else {"slurm_job": job})
    found = resume.finished_before(STORE, make_config(f"force={force}"), DATA)
    assert found is (RUN if counts else None)
