"""What a sweep would do, values that belong together, and a sweep that stops after some failures."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SMALL, make_config, quick_database, runs_of
from trained_runs import record_run

from seqadd import run
from seqadd.errors import DeliveryPending, JobsFailed
from seqadd.launch import local, plan
from seqadd.launch.slurm_options import Request
from seqadd.tracking import connection
from seqadd.training.checkpoint import Checkpoint


@pytest.fixture
def printed(call):
    """Runs ``python -m seqadd.run`` with words; returns the lines that it prints, or its error in one line."""

    def lines(*words: str) -> list[str]:
        code, out, err = call(run.main, *words)
        assert (code, err) == (0, "") or (code, out, err.count("\n")) == (2, "", 1)
        return (out or err).splitlines()

    yield lines
    plan.take_option([])  # so that no later test is a dry run


def test_a_dry_run_lists_the_runs_with_their_cost_and_leaves_nothing(printed, in_empty_folder):
    lines = printed("-m", "--dry-run", "cell=lstm,gru", "seed=0,1", "epochs=20", "hydra.launcher.jobs=2")
    assert lines == [
        "cell=lstm seed=0  new, about 11 s",
        "cell=lstm seed=1  new, about 11 s",
        "cell=gru seed=0   new, about 8 s",
        "cell=gru seed=1   new, about 8 s",
        "4 of 4 runs to train: about 19 s with 2 at once, 0.8 GB of memory for each",
        "nothing was started or recorded; without --dry-run the command trains",
    ]
    assert list(in_empty_folder.iterdir()) == []


def test_a_dry_run_of_a_search_says_how_many_trials_and_what_each_may_cost(printed, in_empty_folder):
    search = ["hydra/sweeper=optuna", "hydra.sweeper.trials=7", "encoder_units=range(16,129,16)", "epochs=50"]
    lines = printed("-m", "--dry-run", *search)
    assert lines[0].startswith("up to 7 trials over encoder_units: each at most about ")
    assert list(in_empty_folder.iterdir()) == []


def test_a_dry_run_knows_what_is_finished_and_where_the_others_go_on(printed, in_empty_folder, capfd):
    run_id = record_run(in_empty_folder, "epochs=3")
    stopped = make_config(*SMALL, "epochs=3", "seed=1", f"tracking.uri=sqlite:///{in_empty_folder}/mlflow.db")
    directory = connection.open_store(stopped.tracking).run_directory(stopped.config_hash())
    directory.path.mkdir(parents=True)
    directory.save(Checkpoint({}, [{"epoch": 1}, {"epoch": 2}], {"model/kernel": np.zeros(3, np.float32)}))
    before = {path: path.stat().st_mtime_ns for path in in_empty_folder.rglob("*") if path.suffix != ".db"}

    capfd.readouterr()  # what MLflow said of a new store

    here = [*SMALL, f"tracking.uri=sqlite:///{in_empty_folder}/mlflow.db"]
    lines = printed("-m", "--dry-run", *here, "epochs=3,9", "seed=0")
    assert lines[0] == f"epochs=3  finished: run {run_id}"
    assert lines[1] == f"epochs=9  continues run {run_id} of 3 epochs, about 0 s"
    assert printed("--dry-run", *here, "epochs=3", "seed=1")[0] == "lstm  resumes after epoch 2 of 3, about 0 s"
    assert printed("--dry-run", *here, "epochs=3", "force=true")[0] == "lstm  new, about 0 s"

    assert len(runs_of(in_empty_folder)) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_values_that_belong_together_are_not_combined_each_with_each(printed):
    words = ["encoder_units=16,32", "decoder_units=8,24", "hydra.sweeper.together=[encoder_units,decoder_units]"]
    lines = printed("-m", "--dry-run", *words, "seed=0,1", "epochs=1")
    assert [line.partition("  ")[0] for line in lines[:-2]] == [
        "encoder_units=16 decoder_units=8 seed=0",
        "encoder_units=16 decoder_units=8 seed=1",
        "encoder_units=32 decoder_units=24 seed=0",
        "encoder_units=32 decoder_units=24 seed=1",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cell=lstm,gru,dense", "seed=0,1"], "cell has 3, seed has 2 values; each must have as many"),
        (["cell=lstm,gru"], "seed has no values here; write seed=VALUE,VALUE"),
    ],
)
def test_values_without_a_partner_are_refused(printed, words, said):
    assert printed("-m", *words, "hydra.sweeper.together=[cell,seed]") == [f"seqadd: hydra.sweeper.together: {said}"]


def test_a_key_belongs_not_together_with_itself(printed):
    (line,) = printed("-m", "seed=0,1", "hydra.sweeper.together=[seed,seed]")
    assert line.startswith("seqadd: hydra.sweeper.together=['seed', 'seed']: must be a list of two keys or more")


def test_combinations_that_do_not_go_together_are_left_out_when_asked_and_named(printed):
    words = ["architecture=repeat_vector,attention", "score=null,dot", "hydra.sweeper.skip_invalid=true"]
    lines = printed("-m", "--dry-run", *words)
    assert [line.partition("  ")[0] for line in lines[:-2]] == [
        "left out: architecture=repeat_vector score=dot",
        "left out: architecture=attention score=null",
        "architecture=repeat_vector score=null",
        "architecture=attention score=dot",
    ]
    assert lines[0].endswith("  score=dot: architecture=repeat_vector does not use it; leave it null")
    (line,) = printed("-m", "--dry-run", "cell=lstm,gru", "epochs=0", "hydra.sweeper.skip_invalid=true")
    assert line.startswith(
        "seqadd: hydra.sweeper.skip_invalid: no combination can be run; left out: cell=lstm epochs=0"
    )


@pytest.fixture
def ends(monkeypatch):
    """Replaces the processes of jobs: gives a function that says how each job that is started ends."""

    def set_outcomes(*outcomes: local.JobSucceeded | local.JobFailed) -> None:
        def run_queue(display, labels, queue, at_once, ended):
            for index, _ in queue:
                ended(index, outcomes[index])

        monkeypatch.setattr(local, "run_queue", run_queue)

    return set_outcomes


def test_after_max_failures_no_further_job_is_started_and_those_are_named(ends):
    good, bad, waits = local.JobSucceeded("a1"), local.JobFailed("too much"), local.JobFailed("server away", waits=True)
    names, configs = ["one", "two", "three", "four", "five"], [make_config(*SMALL)] * 5
    ends(waits, bad, good, bad, good)
    outcomes = local.run_jobs(names, configs, 1, max_failures=2)
    assert outcomes == [waits, bad, good, bad, local.NOT_STARTED]  # what waits for a server has not failed
    with pytest.raises(JobsFailed) as error:
        local.run_ids(names, outcomes)
    assert str(error.value) == (
        "3 of 5 jobs failed: one: server away; two: too much; four: too much; "
        "not started, because max_failures was reached: five"
    )
    assert error.value.failed == 2
    assert local.run_jobs(names, configs, 1)[-1] == good  # without a limit
    with pytest.raises(DeliveryPending):
        local.run_ids(names[:2], [waits, good])


def test_max_failures_counts_the_jobs_of_all_batches(call, monkeypatch, in_empty_folder):
    started: list[str] = []

    def fails(names, configs, at_once, max_failures):
        started.extend(names[:max_failures])
        raise JobsFailed("too much", failed=min(1, max_failures))

    monkeypatch.setattr(local, "run_all", fails)
    quick_database(in_empty_folder)
    batches = ["hydra.sweeper.max_batch_size=1", "hydra.launcher.max_failures=2"]
    code, _, _ = call(run.main, "-m", *SMALL, "seed=range(4)", *batches)
    assert (code, started) == (1, ["seed=0", "seed=1"])


@pytest.mark.parametrize("key", ["jobs", "max_failures"])
def test_a_launcher_takes_whole_numbers_from_1(printed, key):
    (line,) = printed("-m", "seed=0,1", f"hydra.launcher.{key}=0")
    assert line.startswith(f"seqadd: hydra.launcher.{key}=0: must be an integer of at least 1, or null for ")


def test_a_job_with_several_runs_asks_for_a_processor_and_memory_for_each_that_runs_at_once():
    configs = [make_config("epochs=200")] * 8  # about 2 minutes each, 1.6 GB
    one, eight = Request(), Request(runs_per_job=8)
    two_by_two = Request(runs_per_job=8, options={"cpus-per-task": 2})
    assert [each.processors_for(configs) for each in (one, eight, two_by_two)] == [1, 8, 2]
    assert [each.minutes_for(configs) for each in (one, eight, two_by_two)] == [16, 16, 33]
    assert [each.memory_for(configs) for each in (one, eight, two_by_two)] == [2, 14, 4]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"runs_per_job": 0}, "hydra.launcher.runs_per_job=0: must be at least 1, or null"),
        ({"runs_per_job": 2, "gpus": 1}, "hydra.launcher.runs_per_job=2: runs do not share a GPU; leave it out"),
        ({"setup": "module load"}, "hydra.launcher.setup=module load: must be a list of lines"),
        ({"options": {"cpus-per-task": "two"}}, "hydra.launcher.options.cpus-per-task=two: must be an integer"),
    ],
)
def test_a_request_that_slurm_cannot_be_asked_for_is_refused(settings, said):
    with pytest.raises(Exception, match=said.replace("(", r"\(")):
        Request(**settings)
