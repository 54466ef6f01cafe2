"""The structure of the project: imports, configuration keys and their help, and packaging."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from claim_folders import make_claim

import seqadd
from seqadd.config import schema
from seqadd.training.fingerprint import code_digest

CLONE = Path(__file__).parents[1]
SRC = CLONE / "src" / "seqadd"
SOURCES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts): path for path in SRC.rglob("*.py") if path.stem != "__init__"
}

#: Modules and packages that import TensorFlow or Keras when they are imported.
WITH_TENSORFLOW = (
    "models", "training.computes", "training.loop", "training.state", "evaluation.part_check", "launch.preload",
)  # fmt: skip


def test_the_top_has_few_modules_and_no_module_is_long():
    """So that a tree of the packages shows the architecture, and a module reads in one sitting."""
    assert len([name for name in SOURCES if "." not in name]) <= 12
    every = (CLONE / "src").rglob("*.py")
    assert [path.name for path in every if len(path.read_text().splitlines()) > 400] == []


def names_of(node: ast.Import | ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module or ""}


def imported_by(path: Path) -> set[str]:
    """Returns the modules imported anywhere in a file."""
    every = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return set().union(*map(names_of, every))


@pytest.mark.parametrize("module", [name for name in sorted(SOURCES) if not name.startswith(WITH_TENSORFLOW)])
def test_these_import_no_tensorflow_when_they_are_imported(module):
    tree = ast.parse(SOURCES[module].read_text())
    at_import = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name.partition(".")[0] for node in at_import for name in names_of(node)}
    assert not names & {"tensorflow", "keras"}


def test_only_tracking_knows_mlflow():
    knowing = {name for name, path in SOURCES.items() if "mlflow" in {n.split(".")[0] for n in imported_by(path)}}
    assert {name.partition(".")[0] for name in knowing} == {"tracking"}


def test_the_main_path_reads_on_one_screen():
    tree = ast.parse(SOURCES["train"].read_text())
    (main_path,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train_run")
    docstring, *lines = main_path.body
    assert main_path.end_lineno - docstring.end_lineno <= 40
    assert not [node for line in lines for node in ast.walk(line) if isinstance(node, (ast.FunctionDef, ast.Lambda))]


def test_every_module_says_what_it_is_in_its_first_line():
    for path in SOURCES.values():
        said = ast.get_docstring(ast.parse(path.read_text()))
        assert said, path
        assert len(said.splitlines()[0]) <= 120


def test_no_configuration_names_code_but_hydras_own_plugins():
    for path in (CLONE / "conf").rglob("*.yaml"):
        content = yaml.safe_load(path.read_text()) or {}
        if "_target_" in content:
            assert content["_target_"].startswith("hydra_plugins.seqadd_"), path


def test_every_default_is_given_once():
    """Defaults are in conf/ and nowhere else: the schema has none."""
    given = [key for path in (CLONE / "conf").glob("*.yaml") for key in yaml.safe_load(path.read_text())]
    assert len(given) == len(set(given))
    for name, field in schema.described_keys():
        assert field.default == schema.MISSING, name


def test_other_programs_that_use_hydra_are_left_alone(tmp_path):
    """Hydra loads the plugins of all installed packages; ours must not set the Keras backend of other programs."""
    program = "import hydra, os; hydra.initialize(version_base='1.3'); print(os.environ['KERAS_BACKEND'])"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "jax\n", done.stderr


@pytest.mark.parametrize(("lock", "least"), [("requirements.lock", 80), ("docs/requirements.lock", 30)])
def test_a_lock_file_pins_with_hashes_and_names_no_address(lock, least):
    lines = (CLONE / lock).read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert len(pins) > least
    assert all("==" in pin and pin.endswith("\\") for pin in pins)
    assert not any("://" in line for line in lines)


@pytest.mark.long
def test_the_wheel_runs_from_another_folder_with_the_configs_it_carries(installed_wheel, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    small = ["task.digits=1", "task.n_questions=55", "batch_size=20", "encoder_units=4", "cell=dense", "epochs=1"]
    python, installed_command = str(installed_wheel), str(installed_wheel.parent / "seqadd-run")
    commands = [
        [python, "-c", "import seqadd; print(seqadd.__file__)"],
        [installed_command, "--cfg", "job"],
        [python, "-m", "seqadd.run", *small],
        [installed_command, "-m", *small, "seed=1,2"],
        [str(installed_wheel.parent / "seqadd-table"), "--epochs", "1"],
        [str(installed_wheel.parent / "seqadd-answer"), "model=lstm", "535+61"],
    ]
    outputs = []
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert str(installed_wheel.parents[1]) in outputs[0]
    assert "architecture: repeat_vector" in outputs[1]
    assert "2 jobs" in outputs[3]
    assert "missing" in outputs[4]
    assert outputs[5].startswith("535+61 = 596  right")


@pytest.mark.long
def test_an_installed_package_checks_a_claim_of_ones_own(installed_wheel, tmp_path):
    """Without a clone there is no commit: version and digest of the code replace it."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    make_claim(tmp_path / "mine")

    def reproduce(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(installed_wheel), "-m", "seqadd.reproduce", "--experiments", "mine", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    made = reproduce()
    assert made.returncode == 0, made.stderr
    said = " ".join((tmp_path / "mine" / "small" / "README.md").read_text().split())
    assert f"commit unknown (seqadd {seqadd.__version__}, code {code_digest()});" in said
    checked = reproduce("--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    (module,) = installed_wheel.parents[1].glob("lib/python*/site-packages/seqadd/training/loop.py")
    before = module.read_text()
    module.write_text(before + "\n_ONE_MORE = 1\n")
    changed = reproduce("--check")
    module.write_text(before)
    assert changed.returncode == 1
    assert (
        f"small                runs.csv: 4 runs were made by other code than this ({code_digest()})\n" in changed.stdout
    )


def test_shell_completion_of_the_installed_command(tmp_path):
    """Tests what bash offers after ``seqadd-run cell=s`` and after ``seqadd-run ep``."""
    command = Path(sys.executable).parent / "seqadd-run"
    script = f"""
        PATH="{command.parent}:$PATH"
        eval "$(seqadd-run -sc install=bash)"
        for COMP_LINE in "seqadd-run cell=s" "seqadd-run ep"; do
            COMP_WORDS=($COMP_LINE); COMP_CWORD=1; COMP_POINT=${{#COMP_LINE}}; export COMP_LINE COMP_POINT
            hydra_bash_completion; echo "${{COMPREPLY[@]}}"
        done
    """
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["cell=simple_rnn", "epochs="], done.stderr
