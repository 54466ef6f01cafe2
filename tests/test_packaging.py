"""The package's metadata: its version, and the packages that it needs."""

import ast
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import seqadd

CLONE = Path(__file__).parents[1]
PROJECT = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]
#: Packages whose import name differs: import name -> package.
PACKAGES = {"hydra": "hydra-core", "markdown_it": "markdown-it-py", "PIL": "pillow", "yaml": "pyyaml"}
OURS = {"seqadd", "hydra_plugins"}
#: Packages that are there where they are used: IPython in a notebook.
THERE = {"IPython"}
#: Packages that only optional extras need.
OPTIONAL = {Requirement(each).name for extra in ("search", "slurm") for each in PROJECT["optional-dependencies"][extra]}


def imported() -> set[str]:
    """Returns the third-party packages that any module imports."""
    names: set[str] = set()
    for path in (CLONE / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return {PACKAGES.get(name, name) for name in names - OURS - sys.stdlib_module_names}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    declared = {Requirement(each).name for each in PROJECT["dependencies"]}
    assert imported() - OPTIONAL - THERE == declared
    assert imported() >= OPTIONAL


def pins_of(lock: str) -> dict[str, str]:
    """Returns the version of each package that a lock file names; the first one, if there are several."""
    return dict(
        line.removesuffix("\\").partition(";")[0].strip().split("==")
        for line in reversed((CLONE / lock).read_text().splitlines())
        if "==" in line and not line.startswith(" ")
    )


PINS = pins_of("requirements.lock")


@pytest.mark.parametrize(
    "requirement",
    [
        Requirement(each)
        for some in (
            PROJECT["dependencies"],
            *(PROJECT["optional-dependencies"][extra] for extra in ("dev", "search", "server", "slurm")),
        )
        for each in some
    ],
    ids=str,
)
def test_the_lock_file_has_what_is_declared_in_a_version_that_is_allowed(requirement):
    assert requirement.specifier.contains(PINS[requirement.name])


def test_documentation_has_an_environment_of_its_own():
    """``make table`` installs none of it."""
    groups = tomllib.loads((CLONE / "pyproject.toml").read_text())["dependency-groups"]
    pins = pins_of("docs/requirements.lock")
    for requirement in map(Requirement, groups["docs"]):
        assert requirement.specifier.contains(pins[requirement.name])
    assert not PINS.keys() & {"sphinx", "furo", "myst-parser"}
    assert not pins.keys() & {"tensorflow", "keras", "mlflow"}


def test_the_version_is_the_same_wherever_it_is_said():
    assert seqadd.__version__ == version("seqadd")
    assert yaml.safe_load((CLONE / "CITATION.cff").read_text())["version"] == seqadd.__version__


@pytest.mark.parametrize("folder", ["conf", "experiments", "trained"])
def test_what_the_program_reads_is_in_the_wheel_and_in_what_it_is_built_from(folder):
    targets = tomllib.loads((CLONE / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["sources"][folder] == f"seqadd/{folder}"
    assert folder in targets["wheel"]["only-include"]
    assert f"/{folder}" in targets["sdist"]["include"]
    assert any((CLONE / folder).rglob("*.*"))
