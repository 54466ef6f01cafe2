"""What makes code another code, and which other code gives the same numbers."""

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqadd import codes
from seqadd.codes import MODULES, code_digest, digest_of, same_numbers

SOURCES = {name: Path(codes.__file__).with_name(f"{name}.py").read_text() for name in MODULES}

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
    functions = inspect.getsource(codes.what_computes), inspect.getsource(digest_of)
    program = f"""import ast, hashlib, sys
from collections.abc import Iterable
{"".join(functions)}
print("%d.%d" % sys.version_info[:2], digest_of(open(path, encoding="utf-8").read() for path in sys.argv[1:]))
"""
    paths = [str(Path(codes.__file__).with_name(f"{name}.py")) for name in MODULES]
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
    assert same_numbers("a", path) == same


def test_code_is_the_same_as_itself(tmp_path):
    assert same_numbers(path=tmp_path / "none.csv") == {code_digest()}
