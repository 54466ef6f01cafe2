"""The public names of ``seqadd``: what they are, what importing them costs, and the examples in their docstrings."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import hydra_plugins
import seqadd
from seqadd.errors import ConfigError

CLONE = Path(__file__).parents[1]
#: Names whose examples need TensorFlow and a finished run.
WITH_A_RUN = ("TrainedRun", "activations", "gates", "load_run", "probabilities", "weights")
ERRORS = [name for name in seqadd.__all__ if name.endswith("Error") or name == "RunNotFound"]


def test_a_public_name_is_what_it_says_after_every_module_was_imported():
    """The import system sets a module as attribute of its package, where it would replace a public name."""
    for package in (seqadd, hydra_plugins):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    assert sorted(seqadd.__all__) == seqadd.__all__ == sorted(set(seqadd.__all__))
    for name in seqadd.__all__:
        value = getattr(seqadd, name)
        assert not isinstance(value, types.ModuleType), name
        assert (value.__name__, value.__module__.partition(".")[0]) == (name, "seqadd")
    assert set(seqadd.__all__) <= set(dir(seqadd))
    with pytest.raises(AttributeError, match=r"module 'seqadd' has no attribute 'no_such_name'"):
        _ = seqadd.no_such_name


def test_importing_seqadd_imports_no_library():
    program = "import sys, seqadd; dir(seqadd); print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"hydra", "keras", "mlflow", "numpy", "omegaconf", "pandas", "tensorflow"}


@pytest.mark.parametrize("name", seqadd.__all__)
def test_a_public_docstring_says_what_goes_in_and_comes_out_and_has_an_example(name):
    value = getattr(seqadd, name)
    docstring = inspect.getdoc(value)
    assert "\nExample:\n" in docstring
    assert not re.search(r"^Returns:\n.*:( |$)", docstring, re.MULTILINE)  # the site would show a type and its meaning
    if inspect.isfunction(value):
        arguments = list(inspect.signature(value).parameters)
        described = docstring.partition("Args:\n")[2]
        assert all(re.search(rf"^ +{argument}: ", described, re.MULTILINE) for argument in arguments), arguments
        assert "Returns" in docstring or "Loads" in docstring
    elif name not in (*ERRORS, "Config"):
        assert "\nAttributes:\n" in docstring


def run_examples(name: str) -> None:
    """Runs the examples in a docstring; fails if there are none, or one says something else."""
    value = getattr(seqadd, name)
    finder = doctest.DocTestFinder(recurse=False)
    (examples,) = finder.find(value, name, globs=vars(sys.modules[value.__module__]).copy())
    assert examples.examples
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("name", [name for name in seqadd.__all__ if name not in WITH_A_RUN])
def test_an_example_without_tensorflow_is_true(name):
    run_examples(name)


@pytest.fixture(scope="module")
def folder_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of the main model, untrained."""
    from trained_runs import record_run

    folder = tmp_path_factory.mktemp("run")
    record_run(folder, "task.digits=3", "encoder_units=64", "decoder_units=32")
    return folder


@pytest.mark.long
@pytest.mark.parametrize("name", WITH_A_RUN)
def test_an_example_with_a_run_is_true(name, folder_of_a_run, monkeypatch):
    monkeypatch.chdir(folder_of_a_run)
    run_examples(name)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cel=gru", "cel: no such key; did you mean cell?"),
        ("cell=lstm,gru", "cell=lstm,gru: several values; sweep over them with -m cell=lstm,gru"),
        ("epochs=ten", "epochs=ten: must be an integer, at least 1"),
    ],
)
def test_load_config_refuses_what_a_run_refuses_with_the_same_words(override, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        seqadd.load_config(override)


def test_the_page_of_the_api_has_every_public_name():
    page = (CLONE / "docs" / "api.md").read_text()
    shown = re.findall(r"^\.\. auto(?:function|class|exception):: seqadd\.(\w+)(?:\(\))?$", page, re.MULTILINE)
    assert sorted(shown) == seqadd.__all__
