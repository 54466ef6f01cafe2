"""What makes code another code, and which other code gives the same numbers."""

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqadd.system.source_digest import digest_of, what_computes
from seqadd.tracking import provenance
from seqadd.tracking.artifacts import PATCH
from seqadd.tracking.provenance import code_version, origin
from seqadd.training import fingerprint
from seqadd.training.fingerprint import MODULES, code_digest, equivalent_codes

SOURCES = {name: (fingerprint.PACKAGE / f"{name}.py").read_text() for name in MODULES}

UNCHANGED = {
    "a comment": lambda text: text + "\n# It is what it is.\n",
    "an import from seqadd": lambda text: text.replace(
        "from __future__ import annotations\n",
        "from __future__ import annotations\nimport seqadd.files\nfrom seqadd import machine\n",
        1,
    ),
    "the docstring": lambda text: '"""Another docstring."""\n' + text[text.index('"""', 3) + 3 :],
    "layout": lambda text: text.replace("(\n", "(\n\n\n").replace(" = ", "  =  "),
}


@pytest.mark.parametrize("change", UNCHANGED)
@pytest.mark.parametrize("name", MODULES)
def test_what_does_not_compute_makes_no_other_code(name, change):
    changed = {**SOURCES, name: UNCHANGED[change](SOURCES[name])}
    assert changed[name] != SOURCES[name]
    assert digest_of(changed.values()) == code_digest()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 0.2", "x = 0.25"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = None", "x = ()"),
        ("x = y", "x = z"),
        ("def f(x): return x", "def f(x, y=1): return x"),
        ("x = a - b", "x = b - a"),
        ("x = f'{a:.2f}'", "x = f'{a:.3f}'"),
        ("from keras import ops", "from keras import layers as ops"),
        ("from seqadd.files import a", "from seqadd.files import b as a"),
        ("f('seqadd')", "f('other')"),
        ("if a:\n  x = 1\ny = 2", "if a:\n  x = 1\n  y = 2"),
    ],
)
def test_what_computes_makes_another_code(before, after):
    assert digest_of([before]) != digest_of([after])


def test_modules_that_change_places_are_another_code():
    assert digest_of(["x = 1", "x = 2"]) != digest_of(["x = 2", "x = 1"])
    assert digest_of(["x = 1\nx = 2"]) != digest_of(["x = 1", "x = 2"])


def test_the_digest_is_the_same_under_every_python_that_the_project_supports():
    """Of those that are on this machine, beside the one that runs this."""
    functions = inspect.getsource(what_computes), inspect.getsource(digest_of)
    program = f"""import ast, hashlib, sys
from collections.abc import Iterable
{"".join(functions)}
print("%d.%d" % sys.version_info[:2], digest_of(open(path, encoding="utf-8").read() for path in sys.argv[1:]))
"""
    paths = [str(fingerprint.PACKAGE / f"{name}.py") for name in MODULES]
    versions = [*Path.home().glob(".pyenv/versions/3.1[123].*/bin/python")]
    pythons = {sys.executable, *map(str, versions), *filter(None, map(shutil.which, ("python3.12", "python3.13")))}
    said = {}
    for python in sorted(pythons):
        done = subprocess.run([python, "-", *paths], input=program, capture_output=True, text=True, cwd="/")
        if done.returncode == 0:  # a pyenv shim of a version that is not chosen only complains
            version, digest = done.stdout.split()
            said[version] = digest
    assert set(said.values()) == {code_digest()}, said


@pytest.mark.parametrize(
    ("pairs", "same"),
    [
        ([], {"a"}),
        ([("b", "c")], {"a"}),
        ([("b", "a")], {"a", "b"}),
        ([("a", "b")], {"a", "b"}),
        ([("c", "b"), ("b", "a"), ("e", "d")], {"a", "b", "c"}),
    ],
)
def test_sameness_goes_both_ways_and_on(pairs, same, tmp_path):
    path = tmp_path / "same_numbers.csv"
    path.write_text("code,same_as,conditions,machine\n" + "".join(f"{one},{other},3,here\n" for one, other in pairs))
    assert equivalent_codes("a", path) == same


def test_code_is_the_same_as_itself(tmp_path):
    assert equivalent_codes(path=tmp_path / "none.csv") == {code_digest()}


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=ann", "-c", "user.email=ann@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def installed_in(monkeypatch):
    """Lays the code into a folder, as far as ``code_version`` looks, and has it be the code that runs."""

    def lay(package: Path) -> Path:
        package.mkdir(parents=True)
        path = package / "tracking" / "provenance.py"
        path.parent.mkdir()
        path.touch()
        monkeypatch.setattr(provenance, "__file__", str(path))
        return path

    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    return lay


def clone_in(folder: Path, lay) -> str:
    """A clone with the code that runs; returns its commit."""
    lay(folder / "src" / "seqadd")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "code")
    return git(folder, "rev-parse", "HEAD")


def test_code_that_differs_from_its_commit_is_called_dirty_and_other_files_do_not_count(tmp_path, installed_in):
    commit = clone_in(tmp_path, installed_in)
    (tmp_path / "notes.txt").touch()
    assert code_version.__wrapped__() == (commit, "false")
    Path(provenance.__file__).write_text("a change")
    assert code_version.__wrapped__() == (commit, "true")


def test_a_commit_is_not_taken_from_a_repository_that_a_hook_of_gits_names(tmp_path, installed_in, monkeypatch):
    commit = clone_in(tmp_path / "clone", installed_in)
    git(tmp_path, "init", "other")
    git(tmp_path / "other", "commit", "--allow-empty", "-m", "theirs")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert code_version.__wrapped__() == (commit, "false")


def test_uncommitted_changes_are_a_patch_without_ignored_and_untracked_files(tmp_path, installed_in, monkeypatch):
    monkeypatch.setattr(provenance, "code_version", code_version.__wrapped__)
    changes = provenance.uncommitted_changes.__wrapped__
    clone_in(tmp_path, installed_in)
    (tmp_path / "conf").mkdir()
    config = tmp_path / "conf" / "config.yaml"
    config.write_text("a: 1\nuri: null\n")
    (tmp_path / ".gitignore").write_text(".env\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "conf")
    assert changes() == {}
    for name in ("conf/.env", "conf/new.yaml"):
        (tmp_path / name).write_text("secret")
    assert code_version.__wrapped__()[1] == "true"
    assert changes() == {}

    config.write_text("a: 2\nuri: https://ann:secret@host\n")
    patch = changes()[PATCH]
    assert "secret" not in patch
    git(tmp_path, "stash")
    (tmp_path / "kept.patch").write_text(patch)
    git(tmp_path, "apply", "kept.patch")
    assert config.read_text() == "a: 2\nuri: https://***@host\n"

    monkeypatch.setattr(provenance, "_LONGEST_PATCH", 100)
    assert changes()[PATCH].splitlines()[:2] == [
        f"{len(patch)} characters of changes, more than 100:",
        " conf/config.yaml | 4 ++--",
    ]


@pytest.mark.parametrize(
    "package",
    ["lib/site-packages/seqadd", "src/seqadd", "vendor/seqadd", "seqadd-main/src/seqadd"],
)
def test_the_commit_of_somebody_elses_repository_is_not_that_of_the_code_in_it(package, tmp_path, installed_in):
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "theirs")
    installed_in(tmp_path / package)
    assert code_version.__wrapped__() == ("unknown", "unknown")


def test_without_git_without_a_repository_and_before_a_first_commit_no_commit_is_known(
    tmp_path, installed_in, monkeypatch
):
    installed_in(tmp_path / "src" / "seqadd")
    assert code_version.__wrapped__() == ("unknown", "unknown")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    assert code_version.__wrapped__() == ("unknown", "unknown")
    git(tmp_path, "commit", "-m", "code")
    assert code_version.__wrapped__()[1] == "false"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version.__wrapped__() == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"git_commit": "4265967abcdef0123", "git_dirty": "false", "code": "ab"}, "4265967abcde"),
        ({"git_commit": "4265967abcdef0123", "git_dirty": "true", "code": "ab"}, "4265967abcde with changes"),
        ({"git_commit": "unknown", "git_dirty": "unknown", "seqadd": "0.1.0", "code": "ab"},
         "unknown (seqadd 0.1.0, code ab)"),
        ({"code": "ab"}, "unknown (code ab)"),
        ({}, "unknown"),
    ],
)  # fmt: skip
def test_where_no_commit_is_known_version_and_digest_stand_in(tags, said):
    assert origin(tags) == said
