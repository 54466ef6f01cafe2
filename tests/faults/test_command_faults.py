"""Commands in strange hands: choices in files, keys without effect, odd callers, closed streams. Nothing is trained."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing import spawn
from pathlib import Path

import pytest
from conftest import quick_database, runs_of
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext

from seqadd import answer, errors, inspect, reproduce, run, table
from seqadd.launch import local, processes
from seqadd.system.files import resource_dir

# What somebody's folder of files says to Hydra.
FILES = {
    "experiment/slurm": "defaults: [override /hydra/launcher: slurm]",
    "experiment/node": "hydra: {launcher: {jobs: 1000}}",
    "experiment/search": "defaults: [override /hydra/sweeper: optuna]\nhydra: {sweeper: {trials: 0}}",
    "experiment/batches": "hydra: {sweeper: {max_batch_size: 0}}",
    "experiment/log": "defaults: [override /hydra/job_logging: default]",
    "experiment/verbose": "hydra: {verbose: true}",
    "experiment/gone": "hydra: {launcher: {_target_: hydra_plugins.joblib.JoblibLauncher}}",
    "experiment/multirun": "hydra: {mode: MULTIRUN, sweeper: {params: {epochs: '1,0'}}}",
    "experiment/help": "defaults: [override /hydra/help: default]",
    "experiment/plain": "batch_size: 20",
    "task/cluster": "defaults: [override /hydra/launcher: slurm]\ntask: {digits: 3, n_questions: 2000, held_out: 0.1}",
    "architecture/mine": "defaults: [override /cell: gru]\narchitecture: aligned",
}
NO_SLURM = "hydra/launcher=slurm: sbatch not found"
ONE_RUN = "has no effect on a single run; add -m for a sweep"
CHOICES = {
    "-m +experiment=slurm seed=0,1": NO_SLURM,
    "-m task=cluster seed=0,1": NO_SLURM,
    "--config-name mine seed=0,1": NO_SLURM,
    "+experiment=slurm": f"hydra/launcher=slurm: {ONE_RUN}",
    "-m +experiment=slurm,plain": "hydra/launcher=slurm: differs from the sweep's processes; all jobs",
    "-m task=cluster,three_digits": "hydra/launcher=slurm: differs from the sweep's processes; all jobs",
    "-m +experiment=node": "hydra.launcher.jobs=1000: must be at most ",
    "+experiment=node": f"hydra.launcher.jobs=1000: {ONE_RUN}",
    "-m +experiment=node,plain": "hydra.launcher.jobs=1000: differs from the sweep's null; all jobs need",
    "-m +experiment=search seed=0,1": "hydra.sweeper.trials=0: must be an integer of at least 1",
    "+experiment=search": f"hydra/sweeper=optuna: {ONE_RUN}",
    "-m +experiment=batches": "hydra.sweeper.max_batch_size=0: must be an integer of at least 1, or null",
    "+experiment=log": "hydra.job_logging, hydra.hydra_logging: must be none",
    "-m +experiment=log,plain": "hydra/job_logging=default: differs from the sweep's none; all",
    "+experiment=verbose": "hydra.verbose=true: has no effect; HYDRA_FULL_ERROR=1 shows tracebacks",
    "-m +experiment=gone": "hydra.launcher._target_=hydra_plugins.joblib.JoblibLauncher: no such launcher is installed",
    "+experiment=multirun": "epochs=0: must be at least 1 (passes over the training set) (job epochs=0 ",
    "-m architecture=mine": "architecture/mine.yaml: cannot choose cell, which is composed later; choose it on the",
}


@pytest.fixture
def theirs(in_empty_folder: Path) -> Path:
    folder = in_empty_folder / "theirs"
    for name, text in FILES.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# @package _global_\n{text}\n")
    mine = "defaults: [config, override hydra/launcher: slurm, _self_]\nhydra: {mode: MULTIRUN}\n"
    (folder / "mine.yaml").write_text(mine)
    return folder


@pytest.mark.parametrize("arguments", CHOICES)
def test_what_a_file_chooses_takes_effect_or_is_refused(arguments, call, theirs, monkeypatch):
    monkeypatch.setenv("PATH", str(theirs))  # sbatch is not found where Slurm is installed, either
    code, out, err = call(run.main, "--config-dir", str(theirs), *arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"seqadd: {CHOICES[arguments]}")
    assert [path.name for path in theirs.parent.iterdir()] == ["theirs"]


def test_a_file_chooses_the_text_of_help(call, theirs):
    code, out, _ = call(run.main, "--config-dir", str(theirs), "+experiment=help", "--help")
    assert code == 0
    assert "run is powered by Hydra" in out


@pytest.mark.parametrize("name", ["config.yaml", "cell/lstm.yaml", "hydra/launcher/slurm.yaml"])
def test_a_file_that_one_of_ours_would_hide_is_refused(name, call, in_empty_folder):
    path = in_empty_folder / "theirs" / name
    path.parent.mkdir(parents=True)
    path.write_text((resource_dir("conf") / name).read_text())
    assert call(run.main, "--config-dir", "theirs", "--cfg", "job")[0] == 0  # which says the same
    path.write_text("epochs: 7\n")
    code, _, err = call(run.main, "--config-dir", "theirs", "--cfg", "job")
    wanted = f"seqadd: theirs/{name}: is not read, because seqadd has its own {name}; rename the file\n"
    assert (code, err) == (2, wanted)


WITHOUT_EFFECT = {
    "-m hydra.sweep.dir=out seed=0,1": "hydra.sweep.dir=out: has no effect on jobs",
    "-m hydra.sweep.subdir=out seed=0,1": "hydra.sweep.subdir=out: has no effect on jobs",
    "-m hydra.run.dir=out seed=0,1": "hydra.run.dir=out: has no effect on jobs",
    "-m hydra.job.chdir=true seed=0,1": "hydra.job.chdir=true: has no effect on jobs",
    "-m hydra.output_subdir=out seed=0,1": "hydra.output_subdir=out: has no effect on jobs",
    "-m hydra.verbose=true seed=0,1": "hydra.verbose=true: has no effect",
    "hydra.verbose=[hydra]": "hydra.verbose=['hydra']: has no effect",
    "hydra.sweep.dir=out": "hydra.sweep.dir=out: has no effect on a single run",
    "hydra.launcher.jobs=1": f"hydra.launcher.jobs=1: {ONE_RUN}",
    "hydra/launcher=slurm": f"hydra/launcher=slurm: {ONE_RUN}",
    "+hydra.sweeper.params.seed=1": f"hydra.sweeper.params.seed=1: {ONE_RUN}",
    "-m hydra.sweeper.max_batch_size=-1 seed=0,1": "hydra.sweeper.max_batch_size=-1: must be an integer of at least 1",
    "-m hydra.sweeper.max_batch_size=true seed=0,1": "hydra.sweeper.max_batch_size=true: must be an integer of at",
    "-m seed=1,1": "seed=1: two jobs of the sweep are the same run; name it once (no job was started)",
    "-m learning_rate=0.1,0.10 seed=0": "learning_rate=0.1 seed=0: two jobs of the sweep are the same run",
    "-m cell=lstm,lstm": "cell=lstm: two jobs of the sweep are the same run",
    "-m inspect.every=1,2": "inspect.every=1 and inspect.every=2: two jobs of the sweep are the same run",
    "-m epochs=1 tracking.experiment=a,a": "epochs=1 tracking.experiment=a: two jobs of the sweep are the same run",
    "-m hydra.launcher._target_=hydra_plugins.none.It": "hydra.launcher._target_=hydra_plugins.none.It: no such",
    "-m hydra.launcher._target_=hydra_plugins.seqadd_sweep.TrackedSweeper": "hydra.launcher._target_=hydra_plugins.",
    "-m hydra.sweeper._target_=os.mkdir": "hydra.sweeper._target_=os.mkdir: no such sweeper is installed",
    "-m hydra.launcher=null": "hydra.launcher=null: no such launcher is installed; hydra/launcher must be one",
    "-m hydra/launcher=joblib": "hydra/launcher=joblib: must be one of basic, processes, slurm",
    "-m hydra/launcher=slurm +hydra.launcher.node=1": "hydra.launcher: Request.__init__() got an unexpected keyword",
    "-m hydra/sweeper=optuna +hydra.sweeper.n=1 seed=0,1": "hydra.sweeper: SearchSettings.__init__() got an unexpected",
}


@pytest.mark.parametrize("arguments", WITHOUT_EFFECT)
def test_what_would_be_taken_and_ignored_is_refused(arguments, call, in_empty_folder):
    code, out, err = call(run.main, *arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"seqadd: {WITHOUT_EFFECT[arguments]}")
    assert list(in_empty_folder.iterdir()) == []


def test_what_says_the_same_as_the_default_is_no_choice(call):
    same = ["hydra.run.dir=.", "hydra.sweep.dir=.", "hydra.job.chdir=false", "hydra.output_subdir=null"]
    code, _, err = call(run.main, "-m", *same, "hydra.verbose=false", "epochs=0,1")
    assert code == 2
    assert err.startswith("seqadd: epochs=0: ")


Trained = Callable[[list[str], list], list[str]]


def swept(monkeypatch: pytest.MonkeyPatch, trained: Trained, *arguments: str, of_hydra: str) -> list[list[JobReturn]]:
    """What a sweep returns to Hydra whose jobs train nothing: ``trained`` is given their names and configurations."""
    monkeypatch.setattr(local, "run_all", lambda names, configs, *_, **__: trained(names, configs))
    quick_database(Path.cwd())
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3", job_name="run"):
        config = compose("config", ["hydra.mode=MULTIRUN", of_hydra], return_hydra_config=True)
        context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks())
        sweeper = Plugins.instance().instantiate_sweeper(
            config=config, hydra_context=context, task_function=run.task_function
        )
        return sweeper.sweep(list(arguments))


def test_a_sweep_returns_to_hydra_what_hydras_own_does(monkeypatch, in_empty_folder):
    def trained(names: list[str], configs: list) -> list[str]:
        launched.append(names)
        return [f"run {config.seed}" for config in configs]

    launched: list[list[str]] = []
    max_two = "hydra.sweeper.max_batch_size=2"
    batches = swept(monkeypatch, trained, "seed=0,1,2", "epochs=3", of_hydra=max_two)
    assert launched == [["seed=0", "seed=1"], ["seed=2"]]
    assert [[job.return_value for job in batch] for batch in batches] == [["run 0", "run 1"], ["run 2"]]
    last = batches[1][0]
    assert last.overrides[:2] == ["seed=2", "epochs=3"]
    assert (last.cfg.seed, last.cfg.epochs, "hydra" in last.cfg) == (2, 3, False)
    assert (last.hydra_cfg.hydra.job.name, last.hydra_cfg.hydra.job.num) == ("run", 2)
    assert list(last.hydra_cfg.hydra.overrides.task) == last.overrides
    assert (last.task_name, last.working_dir, last.status.name) == ("run", str(in_empty_folder), "COMPLETED")


def test_a_failed_batch_leaves_the_others_running_and_its_jobs_are_named_at_the_end(monkeypatch, in_empty_folder):
    def trained(names: list[str], configs: list) -> list[str]:
        launched.append(names)
        if names != ["seed=1"]:
            raise errors.JobsFailed(f"1 of 1 jobs failed: {names[0]}: no room")
        return ["run 1"]

    launched: list[list[str]] = []
    with pytest.raises(errors.JobsFailed) as failed:
        swept(monkeypatch, trained, "seed=0,1,2", of_hydra="hydra.sweeper.max_batch_size=1")
    assert launched == [["seed=0"], ["seed=1"], ["seed=2"]]
    assert str(failed.value) == "1 of 1 jobs failed: seed=0: no room; 1 of 1 jobs failed: seed=2: no room"
    (parent,) = runs_of(in_empty_folder)
    assert parent.info.status == "FAILED"
    assert parent.data.tags["mlflow.source.git.commit"] == parent.data.tags["git_commit"]


@pytest.mark.parametrize(
    "plugin",
    ["launcher._target_=hydra_plugins.seqadd_sweep.ProcessLauncher"]
    + [
        pytest.param(each, marks=pytest.mark.long)
        for each in (
            "launcher._target_=hydra_plugins.seqadd_sweep.SlurmLauncher",
            "sweeper._target_=hydra_plugins.seqadd_sweep.TrackedSweeper",
            "sweeper._target_=hydra_plugins.seqadd_search.SearchSweeper",
        )
    ],
)
def test_another_program_that_uses_our_plugins_is_told_whose_they_are(plugin, tmp_path):
    program = (
        "import hydra\n@hydra.main(config_path=None, version_base='1.3')\ndef program(cfg): print('ran')\nprogram()"
    )
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py", "-m", f"hydra.{plugin}", "+a=1,2"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    name = plugin.partition("=")[2]
    assert done.stderr.splitlines()[0] == f"{name} runs nothing but seqadd.run"


@pytest.mark.parametrize(
    ("file", "command"),
    [("run", "run"), ("inspect", "inspect")]
    + [
        pytest.param(*each, marks=pytest.mark.long)
        for each in [(name, name) for name in ("table", "reproduce", "answer")] + [("train", "run")]
    ],
)
def test_a_file_that_is_run_by_its_path_names_the_command_instead(file, command, tmp_path):
    path = Path(run.__file__).with_name(f"{file}.py")
    done = subprocess.run([sys.executable, path, "epochs=0"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"seqadd: files of this folder cannot be run by path; in another folder, use: python -m seqadd.{command}\n"
    )


def test_a_command_in_the_folder_of_the_files_is_told_to_go_elsewhere():
    folder = Path(run.__file__).parent
    done = subprocess.run([sys.executable, "-m", "run"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.endswith("in another folder, use: python -m seqadd.run\n")


def in_shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """What becomes of a line of a shell in which ``seqadd.`` stands for a command."""
    line = line.replace("seqadd.", f"{sys.executable} -m seqadd.")
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True)


FULL = "seqadd: not all of it could be printed: No space left on device\n"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("seqadd.run --help >/dev/full", 1, FULL),
        ("seqadd.run epochs=0 >&- 2>&- <&-", 2, ""),
        pytest.param("seqadd.run --cfg job >/dev/full", 1, FULL, marks=pytest.mark.long),
        pytest.param("seqadd.run --version >&-", 0, "", marks=pytest.mark.long),
        pytest.param("seqadd.table --help >/dev/full", 1, FULL, marks=pytest.mark.long),
        pytest.param("seqadd.run epochs=0 2>/dev/full", 2, "", marks=pytest.mark.long),
        pytest.param("seqadd.table --help | true", 0, "", marks=pytest.mark.long),
    ],
)
def test_what_cannot_be_printed_is_said_where_it_can_be(line, code, said, tmp_path):
    done = in_shell(tmp_path, line)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_a_file_that_is_opened_does_not_get_the_number_of_a_closed_stream(tmp_path):
    program = """
import os, subprocess, sys
from seqadd.cli.entry import command
with command():
    opened = open("database", "w")
    print("a word")
    print("another", file=sys.stderr)
    os.write(1, b"of a library"), os.write(2, b"of a library")
    subprocess.run(["sh", "-c", "echo of a process; echo of a process >&2"], check=True)
    assert sys.stdin.read() == ""
    opened.write(str(opened.fileno() > 2))
"""
    (tmp_path / "program.py").write_text(program)
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"):
        done = in_shell(tmp_path, f"{sys.executable} program.py {closed}")
        assert done.returncode == 0, (closed, done.stderr)
        assert (tmp_path / "database").read_text() == "True"


@pytest.mark.parametrize("option", ["--version", "--hydra-help", "--info=plugins", "-sc install=zsh"])
def test_what_hydra_offers_is_not_refused(option, call, in_empty_folder):
    code, out, err = call(run.main, *option.split())
    assert (code, err) == (0, "")
    assert {"--version": f"seqadd {version('seqadd')}, Hydra 1.3.", "--hydra-help": "Hydra (1.3."}.get(
        option, ""
    ) in out
    assert list(in_empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    "option",
    ["--cfg job", "--cfg=job", "--cf job", "-c job", "-cjob", "--info config", "--inf=config", "-i config"],
)
def test_a_configuration_is_shown_without_its_password_however_the_option_is_written(option, call):
    code, out, err = call(run.main, *option.split(), "tracking.uri=postgresql://anna:hunter2@localhost/store")
    assert (code, err) == (0, "")
    assert "@localhost/store" in out
    assert "hunter2" not in out


@pytest.mark.parametrize("command", [table, answer, inspect, reproduce])
def test_every_command_says_its_version(command, call):
    assert call(command.main, "--version") == (0, f"seqadd {version('seqadd')}\n", "")


def test_a_pickle_is_not_run_again(call, in_empty_folder):
    (in_empty_folder / "config.pickle").write_bytes(pickle.dumps({"it": "could be anything"}))
    code, _, err = call(run.main, "--experimental-rerun", "config.pickle")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("seqadd: --experimental-rerun: not supported, a pickle can run code")


def test_a_job_does_not_run_the_script_that_starts_it(monkeypatch):
    class Process:
        def start(self) -> None:
            told.update(spawn.get_preparation_data("job"))

    told: dict[str, object] = {}
    main = sys.modules["__main__"]
    processes._begin(Process())
    assert told
    assert not [key for key in told if "main" in key]
    assert sys.modules["__main__"] is main


def test_a_command_can_be_called_outside_the_main_thread(call, in_empty_folder):
    answers: list[tuple[int, str, str]] = []
    thread = threading.Thread(target=lambda: answers.append(call(run.main, "epochs=0")))
    thread.start()
    thread.join()
    wanted = "seqadd: epochs=0: must be at least 1 (passes over the training set)\n"
    assert answers == [(2, "", wanted)]


def test_a_run_inside_another_use_of_hydra_is_told_so(call, in_empty_folder):
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        code, _, err = call(run.main, "epochs=1")
    assert code == 2
    assert err.startswith("seqadd: Hydra is already initialized in this process, by hydra.initialize or another run")
    assert list(in_empty_folder.iterdir()) == []


def test_a_sweep_in_a_worker_of_a_pool_is_told_why_not(call, in_empty_folder, monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    code, _, err = call(run.main, "-m", "seed=0,1")
    assert code == 2
    assert err.startswith("seqadd: a worker of multiprocessing.Pool cannot start processes")
    assert list(in_empty_folder.iterdir()) == []


def test_a_command_of_a_notebook_draws_into_files_whatever_the_notebook_draws_with(tmp_path):
    program = """
import os
from seqadd.cli.entry import command
with command():
    from matplotlib.figure import Figure
    Figure().savefig("figure.png")
    print(os.environ["MPLBACKEND"])
print(os.environ["MPLBACKEND"])
"""
    inline = "module://nowhere_installed.backend_inline"
    environment = {**os.environ, "MPLBACKEND": inline}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (f"agg\n{inline}\n", "")


@pytest.mark.parametrize("option", ["error", "error::DeprecationWarning"])
def test_warnings_that_are_to_be_errors_are_refused_before_anything_is_done(option, call, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["ignore::UserWarning", option])
    code, _, err = call(run.main, "epochs=1")
    assert code == 2
    assert err.startswith(f"seqadd: -W {option}, PYTHONWARNINGS: would end commands early")
