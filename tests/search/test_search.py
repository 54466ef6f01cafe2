"""Searches: the space, what is refused, what is asked for again, and a trial that hears it is hopeless."""

import dataclasses
import functools
import importlib.util
import json
import re
import subprocess
import sys

import pytest
from conftest import SMALL, client_of, make_config, output_of, quick_database, runs_of
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from seqadd import run, train
from seqadd.config.schema import Config
from seqadd.errors import Interrupted, JobsFailed, Pruned, TrainingDiverged
from seqadd.launch.search import run_search
from seqadd.reporting import figures
from seqadd.search.journal import JOURNAL, open_study, search_directory
from seqadd.search.space import _MOST_CORNERS, SearchSettings, SearchSpace, read_space
from seqadd.search.study import Search
from seqadd.search.trial import Trial
from seqadd.system.files import resource_dir
from seqadd.tracking.connection import open_store
from seqadd.tracking.store import Store

optuna = pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

SEARCH = ["-m", "hydra/sweeper=optuna"]
SETTINGS = SearchSettings(trials=6, metric="val_acc", seed=0, pruner="median", startup_trials=1, warmup_epochs=2)


def space_of(*arguments: str, **params: str) -> SearchSpace:
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        return read_space(GlobalHydra.instance().config_loader(), params, arguments)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("learning_rate=interval(0.001,0.01)", FloatDistribution(0.001, 0.01)),
        ("learning_rate=tag(log,interval(0.0001,0.01))", FloatDistribution(0.0001, 0.01, log=True)),
        ("encoder_units=range(16,129,16)", IntDistribution(16, 128, step=16)),  # what a range ends with is not in it
        ("encoder_units=range(16,128,16)", IntDistribution(16, 112, step=16)),
        ("encoder_units=range(128,15,-16)", IntDistribution(16, 128, step=16)),
        ("encoder_units=tag(int,log,interval(16,128))", IntDistribution(16, 128, log=True)),
        ("task.held_out=range(0.1,0.35,0.1)", FloatDistribution(0.1, 0.3, step=0.1)),
        ("encoder_units=int(interval(1,5))", IntDistribution(1, 5)),
        ("encoder_units=tag(log,int(interval(1,5)))", IntDistribution(1, 5, log=True)),
        ("encoder_units=int(tag(log,interval(1.5,5)))", IntDistribution(1, 5, log=True)),
        ("batch_size=choice(64,128)", CategoricalDistribution([64, 128])),
        ("batch_size=64,128", CategoricalDistribution([64, 128])),
        ("learning_rate=choice(0.01,1e-3)", CategoricalDistribution([0.01, 0.001])),
        ("reverse=true,false", CategoricalDistribution([True, False])),
        ("task.longest=null,4", CategoricalDistribution([None, 4])),
        ("cell=lstm,'gru'", CategoricalDistribution(["lstm", "'gru'"])),
        ("cell=glob(*,exclude=dense)", CategoricalDistribution(["gru", "lstm", "simple_rnn"])),
    ],
)
def test_a_space_is_written_in_hydras_grammar(override, meant):
    (found,) = space_of(override).keys.values()
    assert found == meant


def test_what_has_one_value_is_the_same_in_every_trial_and_the_command_line_counts_more_than_a_file():
    space = space_of("batch_size=64,128", "epochs=5", batch_size="1,2", cell="gru")
    assert space.fixed == ["cell=gru", "epochs=5"]
    assert space.overrides({"batch_size": "128"}) == ["cell=gru", "epochs=5", "batch_size=128"]


def test_the_corners_of_a_space_are_its_choices_and_the_ends_of_its_ranges():
    corners = space_of("cell=lstm,gru", "encoder_units=range(16,65,16)").corners()
    assert [" ".join(corner) for corner in corners] == [
        "cell=lstm encoder_units=16",
        "cell=lstm encoder_units=64",
        "cell=gru encoder_units=16",
        "cell=gru encoder_units=64",
    ]


def test_of_a_space_with_too_many_corners_every_choice_is_checked_all_the_same():
    corners = space_of(*(f"{key}=range(1,33)" for key in ("encoder_units", "decoder_units")), "seed=range(0,9)",
                       "batch_size=" + ",".join(map(str, range(1, 33)))).corners()  # fmt: skip
    assert _MOST_CORNERS < 2 * 2 * 2 * 32
    assert {f"batch_size={n}" for n in range(1, 33)} <= {override for corner in corners for override in corner}


REFUSALS = {
    "cell=gru": "hydra/sweeper=optuna: no key has several values; give one a range, as in 'learning_rate=",
    "seed=1,2 hydra.sweeper.trials=0": "hydra.sweeper.trials=0: must be an integer of at least 1",
    "seed=1,2 hydra.sweeper.metric=accuracy": "hydra.sweeper.metric=accuracy: must be one of acc, val_acc",
    "seed=1,2 hydra.sweeper.metric=val_acc_position_5": "hydra.sweeper.metric=val_acc_position_5: some runs of "
    "this search lack it; position 1 to 4 has it",
    "loss=binary,categorical hydra.sweeper.metric=binary_accuracy": "hydra.sweeper.metric=binary_accuracy: some runs "
    "of this search lack it; loss=binary has it",
    "seed=1,2 hydra.sweeper.pruner=hyperband": "hydra.sweeper.pruner=hyperband: must be one of median, none",
    "seed=1,2 hydra.sweeper.warmup_epochs=200": "hydra.sweeper.warmup_epochs=200: must be less than epochs=200",
    "seed=1,2 hydra.sweeper.max_batch_size=0": "hydra.sweeper.max_batch_size=0: must be an integer of at least 1",
    "batch_size=choice(0,64)": "batch_size=0: must be at least 1",
    "encoder_units=range(0,64,16)": "encoder_units=0: must be at least 1",
    "batch_size=tag(int,interval(64,51200))": "batch_size=51200: must be at most 45000, the size of the training set",
    "learning_rate=interval(0,0.01)": "learning_rate=0.0: must be finite and above 0",
    "learning_rate=tag(log,interval(0,0.01))": "learning_rate=tag(log,interval(0,0.01)): a logarithmic scale "
    "begins above 0",
    "learning_rate=interval(0.1,0.01)": "learning_rate=interval(0.1,0.01): the first number must be less than",
    "learning_rate=tag(ln,interval(0.01,0.1))": "learning_rate=tag(ln,interval(0.01,0.1)): the tags of an interval",
    "encoder_units=tag(log,range(1,4))": "encoder_units=tag(log,range(1,4)): only intervals have tags; remove log",
    "encoder_units=range(4,4)": "encoder_units=range(4,4): contains no number",
    "batch_size=tag(log,interval(64,512))": "batch_size=tag(log,interval(64,512)): batch_size is an integer; write "
    "tag(log,int(interval(64,512))) or range(...)",
    "cell=interval(0,1)": "cell=interval(0,1): cell is not a number; write choice(...)",
    "epochs=10,20": "epochs=10,20: all trials of a search have the same number of epochs; give one value",
    "force=true,false": "force=true,false: does not affect a result; give it one value",
    "widths=1,2": "widths=1,2: no such key",
}


@pytest.mark.parametrize("overrides", REFUSALS)
def test_what_is_no_search_is_refused_in_one_line_and_leaves_nothing(overrides, call, in_empty_folder):
    code, out, err = call(run.main, *SEARCH, *overrides.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"seqadd: {REFUSALS[overrides]}")
    assert list(in_empty_folder.iterdir()) == []


def test_without_optuna_a_search_says_what_to_install(call, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else found(name, *rest)
    )
    code, _, err = call(run.main, *SEARCH, "seed=0,1")
    assert (code, err) == (2, "seqadd: hydra/sweeper=optuna: needs Optuna; pip install 'seqadd[search]'\n")


def test_only_a_search_imports_optuna_and_a_refused_one_neither_tensorflow_nor_mlflow(tmp_path):
    program = f"""
import sys
from seqadd import run
for sys.argv[1:] in {["--help"]}, {["-m", "epochs=0,1"]}, {[*SEARCH, "batch_size=0,1"]}:
    try:
        run.main()
    except SystemExit:
        pass
    print("imported:", *sorted({{'optuna', 'tensorflow', 'keras', 'mlflow'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert re.findall("imported:(.*)", done.stdout) == ["", "", " optuna"], done


SPACE = ["learning_rate=tag(log,interval(0.0001,0.01))", "batch_size=choice(10,20,44)"]


class Launcher:
    """Trains nothing: tells the study of each trial what a run would tell it; stops after so many."""

    def __init__(self, stops_after: int | None = None, fails: frozenset[int] = frozenset()) -> None:
        self.stops_after = stops_after
        self.fails = fails
        self.asked: list[tuple[int, str]] = []

    def __call__(self, search: Search, numbers: list[int], own: list[str], ended) -> None:
        self.parent = own[0].removeprefix("tracking.parent_run_id=")
        for number in numbers:
            asked = search.ask(number)
            self.asked.append((asked.number, " ".join(asked.overrides)))
            if len(self.asked) == self.stops_after:
                raise Interrupted(2)
            if number not in self.fails:
                trial = Trial(search.study, number, epochs=1)
                trial.begin(f"run {number}", {1: search.study.trials[number].params["learning_rate"]})
                trial.tell("COMPLETE")
            ended(number, "no room on the disk")


def searching(launcher: Launcher, n: int = 6, **changes) -> str:
    space = space_of(*SPACE)
    config = make_config(*SMALL, "epochs=4")
    settings = dataclasses.replace(SETTINGS, trials=n)
    return run_search("lr", space, settings, [dataclasses.replace(config, **changes)], launcher)


@pytest.fixture
def in_folder_with_store(in_empty_folder):
    quick_database(in_empty_folder)
    return in_empty_folder


def test_a_search_that_is_stopped_goes_on_with_the_same_trials_under_the_same_parent(
    in_folder_with_store, tmp_path_factory, monkeypatch
):
    first, second = Launcher(stops_after=4), Launcher()
    with pytest.raises(Interrupted):
        searching(first)
    best = searching(second)
    assert [number for number, _ in first.asked] == [0, 1, 2, 3]
    assert [number for number, _ in second.asked] == [3, 4, 5]  # three were told; the fourth is gone on with
    assert first.asked[3] == second.asked[0]
    (parent,) = runs_of(in_folder_with_store)
    assert (parent.info.run_id, parent.info.status) == (first.parent, "FINISHED")
    assert second.parent == first.parent
    assert parent.data.tags["trials_finished"] == "6"
    assert parent.data.tags["best_run_id"] == best
    assert not (in_folder_with_store / "unfinished").exists()

    folder = tmp_path_factory.mktemp("whole")
    quick_database(folder)
    monkeypatch.chdir(folder)
    whole = Launcher()
    searching(whole)
    assert whole.asked == first.asked[:3] + second.asked
    assert len({overrides for _, overrides in whole.asked}) == 6


def test_a_finished_search_is_not_repeated_and_goes_on_when_more_trials_are_asked_for(in_folder_with_store, capsys):
    first, again, more, forced = Launcher(), Launcher(), Launcher(), Launcher()
    best = searching(first)
    assert searching(again) == best
    assert again.asked == []
    assert f"finished already: search {first.parent}; force=true searches again" in capsys.readouterr().out
    searching(more, 8)
    assert [number for number, _ in more.asked] == [6, 7]
    assert more.parent == first.parent
    searching(forced, force=True)
    assert forced.asked == first.asked
    assert forced.parent != first.parent


def test_a_search_shows_its_best_after_each_trial_and_keeps_a_picture_and_its_study(in_folder_with_store):
    searching(Launcher())
    (parent,) = runs_of(in_folder_with_store)
    client = client_of(in_folder_with_store)
    values = [point.value for point in client.get_metric_history(parent.info.run_id, "search/best_val_acc")]
    assert len(values) == 6
    assert values == sorted(values)
    there = {"search.png", "study.journal", "table.csv", "table.md"}
    assert {each.path for each in client.list_artifacts(parent.info.run_id)} == there
    what, counts, _, table = parent.data.tags["mlflow.note.content"].split("\n\n")
    assert what == (
        "Search over learning_rate, batch_size by Optuna's TPE: maximizes val_acc, 6 trials, pruner median."
    )
    number = parent.data.tags["best_trial"]
    best = f"6 trials: 6 finished. Best: [trial {number}](#/experiments/1/runs/run {number}?"
    assert counts.startswith(best)
    assert table.splitlines()[2].startswith(f"| trial {number} learning_rate=")  # the best one first
    assert parent.data.params["space.batch_size"] == "choice(10,20,44)"
    assert parent.data.params["warmup_epochs"] == "2"


def test_a_trial_that_failed_is_named_and_tried_again_by_the_same_command(in_folder_with_store):
    first, second = Launcher(fails=frozenset({2})), Launcher()
    with pytest.raises(JobsFailed, match="1 of 6 trials failed: trial 2: no room on the disk; repeat the command"):
        searching(first)
    searching(second)
    assert second.asked == [(6, first.asked[2][1])]
    (parent,) = runs_of(in_folder_with_store)
    assert parent.info.status == "FINISHED"


def test_a_trial_whose_choice_was_cut_short_by_a_kill_is_chosen_again(tmp_path):
    space = space_of(*SPACE)
    search = Search(open_study(tmp_path / "study.journal", "maximize"), space, SETTINGS)
    search.study.ask()  # without its values
    search.begin(make_config(*SMALL, "epochs=4"))
    assert search.missing() == [1, 2, 3, 4, 5, 6]
    assert search.ask(1).overrides[0].startswith("learning_rate=")


def test_choices_keep_their_types_and_plots_name_the_metric(tmp_path):
    search = Search(open_study(tmp_path / JOURNAL, "maximize"), space_of("reverse=true,false", *SPACE), SETTINGS)
    search.begin(make_config(*SMALL, "epochs=4"))
    search.ask(0)
    (trial,) = open_study(tmp_path / JOURNAL).trials
    assert type(trial.params["batch_size"]) is int
    assert type(trial.params["reverse"]) is bool
    assert search.study.metric_names == ["val_acc"]


def test_a_study_whose_choices_are_texts_keeps_them(tmp_path):
    study = open_study(tmp_path / JOURNAL, "maximize")
    texts = CategoricalDistribution(["10", "20", "44"])
    study.ask({"learning_rate": FloatDistribution(0.0001, 0.01, log=True), "batch_size": texts})
    search = Search(open_study(tmp_path / JOURNAL), space_of(*SPACE), SETTINGS)
    search.begin(make_config(*SMALL, "epochs=4"))
    assert [search.ask(number).overrides[1] in {f"batch_size={n}" for n in (10, 20, 44)} for number in (0, 1)] == [
        True
    ] * 2
    assert [trial.distributions["batch_size"] for trial in search.study.trials] == [texts] * 2


def test_a_figure_spaces_choices_evenly():
    space = space_of("reverse=true,false", "batch_size=64,512", "encoder_units=range(8,65,8)")
    plotted = space.plotted({"reverse": True, "batch_size": 512, "encoder_units": 16})
    assert plotted == {"reverse": "true", "batch_size": "512", "encoder_units": 16}


def test_a_search_of_which_no_trial_finishes_fails(in_folder_with_store):
    with pytest.raises(JobsFailed, match="no trial has finished: trial 0: no room on the disk; trial 1: "):
        searching(Launcher(fails=frozenset(range(6))))


def test_who_writes_behind_a_line_that_was_torn_cuts_it_off(tmp_path):
    journal = tmp_path / "study.journal"
    study = open_study(journal, "maximize")
    study.ask({"batch_size": CategoricalDistribution(["10", "20"])})
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "worker')
    study.set_user_attr("metric", "val_acc")
    assert journal.read_bytes().startswith(whole)
    assert [json.loads(line)["op_code"] for line in journal.read_text().splitlines()[whole.count(b"\n") :]] == [2]
    for each in (study, open_study(journal)):
        assert (len(each.trials), each.user_attrs) == (1, {"metric": "val_acc"})


OF_SEARCH = ["tracking.parent_run_id=p", "tracking.search=s", "tracking.trial=1"]


def small_trial(
    folder, *overrides: str, metric: str = "val_acc", best_so_far: float | None = None
) -> tuple[Config, Store]:
    """The configuration of a trial of a search, in which one trial has had the same value after each epoch."""
    quick_database(folder)
    config = make_config(*SMALL, "cell=dense", "decoder_units=null", "epochs=6", "jit=false", *OF_SEARCH, *overrides)
    store = open_store(config.tracking)
    run_dir = search_directory(store, "s")
    run_dir.path.mkdir(parents=True)
    study = open_study(run_dir.path / JOURNAL, "maximize")
    for name, value in {"metric": metric, "pruner": "median", "startup_trials": 1, "warmup_epochs": 2}.items():
        study.set_user_attr(name, value)
    for _ in range(2):
        study.ask()
    if best_so_far is not None:
        first = Trial(study, 0, epochs=6)
        first.begin("first", dict.fromkeys(range(1, 7), best_so_far))
        first.tell("COMPLETE")
    return config, store


def study_of(store: Store):
    return open_study(search_directory(store, "s").path / JOURNAL)


quietly = functools.partial(train.train_run, notify=lambda message: None)


def test_a_hopeless_trial_is_ended_and_its_record_says_so(in_empty_folder):
    config, store = small_trial(in_empty_folder, best_so_far=1.0)
    with pytest.raises(
        Pruned, match=r"pruned after epoch 2: best val_acc 0\.\d+ is worse than 1\.0000, the median"
    ) as pruned:
        quietly(config)
    (recorded,) = runs_of(in_empty_folder)
    assert (recorded.info.run_id, recorded.info.status) == (pruned.value.run_id, "KILLED")
    assert (recorded.data.tags["pruned"], recorded.data.tags["trial"]) == ("2", "1")
    assert not store.run_directory(config.config_hash()).path.exists()
    trial = study_of(store).trials[1]
    assert (trial.state, sorted(trial.intermediate_values)) == (TrialState.PRUNED, [1, 2])


def test_a_trial_that_is_as_good_as_the_others_is_trained_to_its_end_and_then_not_trained_again(in_empty_folder):
    config, store = small_trial(in_empty_folder, best_so_far=0.0)
    run_id = quietly(config)
    study = study_of(store)
    trained = study.trials[1]
    assert (trained.state, trained.user_attrs["run_id"]) == (TrialState.COMPLETE, run_id)
    assert trained.intermediate_values == store.history(run_id, "val_acc")
    assert trained.value == trained.intermediate_values[6]
    # The same configuration, proposed again: its history is told, nothing is trained.
    study.ask()
    assert quietly(dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, trial=2))) == run_id
    again = study_of(store).trials[2]
    assert (again.state, again.intermediate_values) == (TrialState.COMPLETE, trained.intermediate_values)
    assert len(runs_of(in_empty_folder)) == 1


def test_a_trial_that_diverges_has_failed_for_good(in_empty_folder):
    config, store = small_trial(in_empty_folder, "learning_rate=1e38")
    with pytest.raises(TrainingDiverged):
        quietly(config)
    trial = study_of(store).trials[1]
    assert trial.state is TrialState.FAIL
    assert trial.user_attrs["final"] is True
    assert trial.user_attrs["error"] == "loss is nan after epoch 1; lower learning_rate=1e+38"


@pytest.mark.parametrize(
    ("batch", "order"),
    [
        ([], ["chosen 0", "ended 0", "chosen 1", "ended 1"]),
        (["hydra.sweeper.max_batch_size=2"], ["chosen 0", "chosen 1", "ended 0", "ended 1"]),
    ],
)
def test_each_trial_is_chosen_when_it_can_start_unless_they_are_chosen_in_batches(batch, order, in_empty_folder):
    quick_database(in_empty_folder)
    search = [*SEARCH, *SMALL, "cell=dense", "decoder_units=null", "epochs=1", "jit=false", "learning_rate=0.1,0.2"]
    lines = output_of(in_empty_folder, *search, "hydra.sweeper.trials=2", "hydra.launcher.jobs=1", *batch).splitlines()
    words = {"learning_rate": "chosen", "val_acc": "ended"}
    found = [re.match(r"trial (\d)  (learning_rate|val_acc)\b", line) for line in lines]
    assert [f"{words[event[2]]} {event[1]}" for event in found if event] == order, lines


def test_a_metric_that_the_runs_turn_out_not_to_have_is_named(in_empty_folder):
    config, store = small_trial(in_empty_folder, metric="val_exact_match_carries_9")
    with pytest.raises(Exception, match=r"hydra.sweeper.metric=val_exact_match_carries_9: this run lacks it"):
        quietly(config)
    assert study_of(store).trials[1].state is TrialState.FAIL


def test_the_picture_of_a_search_shows_the_best_so_far_and_marks_what_was_pruned():
    tried = [
        figures.Tried(number, value, pruned, {"batch_size": "64", "learning_rate": 0.01})
        for number, (value, pruned) in enumerate([(0.5, False), (0.4, False), (0.9, True), (0.7, False)])
    ]
    drawn = figures.search(tried, "val_acc", "four trials", least=False, logarithmic=["learning_rate"])
    history, by_batch_size, by_learning_rate = drawn.axes
    (best,) = history.lines
    assert list(best.get_ydata()) == [0.5, 0.5, 0.7, 0.7]
    pruned, finished = history.collections
    assert pruned.get_offsets().tolist() == [[2.0, 0.9]]
    assert len(finished.get_offsets()) == 3
    assert [each.get_text() for each in by_batch_size.get_xticklabels()] == ["64"]
    assert by_learning_rate.get_xscale() == "log"
