"""Own parts: what a file declares, how it composes, and what is refused. No part is run here."""

import hashlib
import json
import os
import pickle
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from claim_folders import SWEEP, make_claim

from seqadd import reproduce, run, table
from seqadd.claims.loading import read_all
from seqadd.cli.code_option import take_code
from seqadd.config import cost, help_text, schema
from seqadd.config.composition import compose_selection, load_config, recorded_overrides
from seqadd.config.declarations import read_parts
from seqadd.config.differences import differences
from seqadd.config.part_schema import declare
from seqadd.config.part_sources import read_sources
from seqadd.config.parts import Measured, code_words, declared
from seqadd.errors import ConfigError, PartNotDeclared, RunNotFound
from seqadd.evaluation.recorded_config import config_of

LEAKY = """
import keras, does_not_exist
from typing import Annotated, Literal, Optional
import seqadd as s
from seqadd import within as between

raise SystemExit("this file must not be run")

@s.cell("leaky")
class Leaky(keras.layers.Layer):
    def __init__(self, units, recurrent_activation="sigmoid", *, leak: Annotated[float, between(0, 1)] = 0.1,
                 mode: Literal["a", "b"] = "a", steps: int | None = None, slope: Optional[float] = 2, on: bool = True,
                 text: "str" = "x", **kwargs):
        pass
"""
READER = """
from seqadd import architecture

@architecture("reader", cell=None, reads_answer=True)
def reader(question, previous, *, width: int = 36):
    return previous

@architecture("leaky_reader", cell="leaky")
def leaky_reader(question, answer_length, cell):
    return question
"""
ECHO = """
import seqadd
from typing import ClassVar

@seqadd.task("echo", characters="ab")
class Echo:
    longest: int = 3
    not_a_key: ClassVar[int] = 5
    def solve(self, question):
        return question
"""


@pytest.fixture
def files(tmp_path):
    """The three files above, declared to this process."""
    paths = {}
    for name, text in (("leaky", LEAKY), ("reader", READER), ("echo", ECHO)):
        paths[name] = tmp_path / f"{name}.py"
        paths[name].write_text(text)
    declare(paths.values())
    yield paths
    declare([])


def write(path, body, above="import seqadd\nfrom typing import *\n"):
    path.write_text(above + body)
    return path


def test_a_file_is_read_and_not_run(files):
    (part,) = read_parts(files["leaky"])
    assert (part.kind, part.name, part.line) == ("cell", "leaky", 10)
    assert part.where == "leaky.py:10: cell=leaky"
    keys = {key.name: (key.kind, key.default, key.low, key.high, key.choices) for key in part.keys}
    assert keys == {
        "leak": ("float", 0.1, 0, 1, None),
        "mode": ("str", "a", None, None, ("a", "b")),
        "steps": ("int | None", None, None, None, None),
        "slope": ("float | None", 2.0, None, None, None),
        "on": ("bool", True, None, None, None),
        "text": ("str", "x", None, None, None),
    }
    assert isinstance(part.keys[3].default, float)
    assert "does_not_exist" not in sys.modules


def test_keys_of_a_part_are_there_where_it_is_chosen(files):
    config = load_config("cell=leaky", "leaky.leak=1", "leaky.steps=1e3", "leaky.mode=b")
    assert config.cell == "leaky"
    assert config.flat()["leaky.leak"] == 1.0
    assert dict(config.part("cell").values)["steps"] == 1000
    assert config.part("architecture") is None
    assert config.part_code == config.condition()["part_code"]
    assert pickle.loads(pickle.dumps(config)) == config
    assert not any(key.startswith("leaky") for key in load_config().flat())
    assert load_config().part_code is None


def test_a_key_changes_the_condition(files):
    same = load_config("cell=leaky").condition_hash()
    assert load_config("cell=leaky", "leaky.leak=0.1", "seed=3").condition_hash() == same
    assert load_config("cell=leaky", "leaky.leak=0.2").condition_hash() != same


def test_an_architecture_without_a_cell_has_no_cell_and_no_units(files):
    config = load_config("architecture=reader", "reader.width=48")
    nulls = {key for key in ("cell", "encoder_units", "decoder_units", "peek", "score") if config.flat()[key] is None}
    assert nulls == {"cell", "encoder_units", "decoder_units", "peek", "score"}
    assert config.teacher_forcing == "always"
    assert config.ends_with_eos
    assert config.model_name == "reader"
    keys = {key: value for key, value in config.condition().items() if value is not None}
    assert "cell" not in keys  # nor in the hash: a run whose record has no such key is of the same condition
    assert hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:16] == config.condition_hash()
    (column,) = compose_selection(["architecture=reader"]).columns
    assert column.label == "architecture reader"


def test_the_cell_of_an_architecture_is_its_own_unless_one_is_named(files):
    config = load_config("architecture=leaky_reader")
    assert config.cell == "leaky"
    assert config.part("cell").values["leak"] == 0.1
    assert config.teacher_forcing is None
    assert not config.ends_with_eos
    for cell in ("lstm", "gru"):  # lstm is the default of conf/config.yaml, and counts if it is named
        assert load_config("architecture=leaky_reader", f"cell={cell}").cell == cell


def test_a_task_brings_its_characters_and_has_no_digits(files):
    config = load_config("task=echo", "echo.longest=2")
    assert config.task.name == "echo"
    assert (config.task.digits, config.task.n_questions, config.task.held_out) == (None, 50_000, 0.1)
    assert config.alphabet == " ab"
    assert load_config().alphabet == " +0123456789"
    for name in ("longest", "question_length", "answer_length"):
        with pytest.raises(AttributeError, match="task=echo has no digits"):
            getattr(config, name)


def test_the_tasks_of_the_package_come_through_the_same_door():
    config = load_config("task=multiplication")
    assert config.alphabet == " *0123456789"
    assert config.part_code is None
    assert config.part("task").built_in


REFUSED = {
    "cell=leaky leaky.leak=2": "leaky.leak=2.0: must be in 0..1 (a key of cell=leaky)",
    "cell=leaky leaky.leak=nan": "leaky.leak=nan: must be in 0..1",
    "cell=leaky leaky.slope=inf": "leaky.slope=inf: must be finite",
    "cell=leaky leaky.mode=c": "leaky.mode=c: must be one of a, b",
    "cell=leaky leaky.steps=x": "leaky.steps=x: must be an integer, or null",
    "cell=leaky leaky.leak=null": "leaky.leak: must not be null",
    "cell=leaky leaky.lek=1": "leaky.lek: no such key; did you mean leaky.leak?",
    "cell=leaky +leaky.more=1": "leaky.more: no such key",
    "leaky.leak=0.2": "leaky.leak: is a key of cell=leaky; choose it, or leave leaky.leak out",
    "cell=gru +leaky.leak=0.2": "leaky.leak: is a key of cell=leaky; choose it",
    "-m cell=gru leaky.leak=0.1,0.2": "leaky.leak: is a key of cell=leaky; choose it",
    "-m cell=leaky leaky.leak=0.1,3": "leaky.leak=3.0: must be in 0..1 (a key of cell=leaky) (job cell=leaky",
    "-m hydra/sweeper=optuna cell=leaky leaky.leak=interval(0.1,2)": "leaky.leak=2.0: must be in 0..1 (a key of cell=l",
    "-m hydra/sweeper=optuna cell=leaky leaky.mode=range(1,3)": "leaky.mode=range(1,3): leaky.mode is not a number",
    "multiplication.digits=2": "multiplication.digits: is a key of task=multiplication; choose it",
    "cell=gru architecture=reader": "cell=gru: architecture=reader has no cell; leave it out",
    "cell=lstm architecture=reader": "cell=lstm: architecture=reader has no cell; leave it out",
    "architecture=reader encoder_units=9": "encoder_units=9: architecture=reader does not use it; leave it out",
    "architecture=reader score=dot": "score=dot: architecture=reader does not use it",
    "architecture=leaky_reader teacher_forcing=never": "teacher_forcing=never: architecture=leaky_reader does not use",
    "architecture=leaky_reader cell=dense": "cell=dense architecture=leaky_reader: a dense cell has no memory",
    "task=echo task.digits=2": "task.digits=2: task=echo has no such key",
    "task=echo curriculum=naive": "curriculum=naive: task=echo has no such key",
    "task.name=echo": "task.name=echo: is set by task=echo",
    "part_code=0": "part_code: is computed from the source of own parts; leave it out",
    "+part_code=0": "part_code: is computed from the source of own parts; leave it out",
    "reverse_answer=false": "reverse_answer=false: must be true, or null",
    "task.digits=null": "task.digits=null: ",
    "encoder_units=null": "encoder_units=null: architecture=repeat_vector needs at least 1 unit",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_fit_a_part_is_refused_in_one_line(words, files, call, in_empty_folder):
    before = sorted(in_empty_folder.iterdir())
    code, out, err = call(run.main, *(f"--code={path}" for path in files.values()), *words.split())
    assert err.startswith(f"seqadd: {REFUSED[words]}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sorted(in_empty_folder.iterdir()) == before


OF_A_TASK = "@seqadd.task('t', characters='a')\nclass T:\n    "
BAD = {
    "x = 1": "declares nothing",
    "def f(:": "parts.py:3: is not Python",
    "@seqadd.cell\nclass C: pass": 'parts.py:4: @cell: needs a name; write @seqadd.cell("NAME")',
    "n = 'c'\n@seqadd.cell(n)\nclass C: pass": "parts.py:5: @cell: n: must be a literal",
    "@seqadd.cell('c', 1)\nclass C: pass": "parts.py:4: @cell: too many positional arguments",
    "@seqadd.cell(3)\nclass C: pass": "parts.py:4: @cell: name=3: must be text",
    "@seqadd.cell('no-name')\nclass C: pass": "parts.py:4: @cell: 'no-name': must consist of letters",
    "@seqadd.cell('null')\nclass C: pass": "parts.py:4: @cell: 'null': has a meaning in Hydra",
    "@seqadd.cell('gru')\nclass C: pass": "parts.py:4: cell=gru: gru is a built-in choice already",
    "@seqadd.cell('seed')\nclass C: pass": "parts.py:4: cell=seed: seed is a key",
    "@seqadd.cell('task')\nclass C: pass": "parts.py:4: cell=task: task is a key",
    "@seqadd.task('two_digits', characters='a')\nclass C: pass": "parts.py:4: task=two_digits: ",
    "@seqadd.task('multiplication', characters='a')\nclass C: pass": "parts.py:4: task=multiplication",
    "@seqadd.cell('c')\nclass C: pass\n@seqadd.cell('c')\nclass D: pass": "parts.py:6: cell=c: c is declared",
    "@seqadd.cell('c')\ndef c(): pass": "parts.py:4: cell=c: must be a class",
    "@seqadd.architecture('c')\nclass C: pass": "parts.py:4: architecture=c: must be a function",
    "@seqadd.architecture('c')\ndef f(question, answer_length): pass": "parts.py:4: architecture=c: has the param",
    "@seqadd.architecture('c', cell=None)\ndef f(question, n, cell): pass": "parts.py:4: architecture=c: has the param",
    "def g():\n    @seqadd.cell('c')\n    class C: pass": "parts.py:5: @cell: must be at the top level",
    "@seqadd.task('t', characters='')\nclass T: pass": "parts.py:4: task=t: characters='': is empty",
    "@seqadd.task('t', characters='a b')\nclass T: pass": "parts.py:4: task=t: characters='a b': contains the blank",
    "@seqadd.task('t', characters='aba')\nclass T: pass": "parts.py:4: task=t: characters='aba': contains 'a' more",
    "@seqadd.task('t', characters='" + "".join(map(chr, range(192, 256))) + "')\nclass T: pass": "parts.py:4: task=t",
    OF_A_TASK + "n: int": "parts.py:5: n: is a key, so it needs a default",
    OF_A_TASK + "n: list = 3": "parts.py:5: n: list: no type of a key",
    OF_A_TASK + "n: int | str = 3": "parts.py:5: n: int | str: no type of a key",
    OF_A_TASK + "n: int = 2 + 3": "parts.py:5: n=2 + 3: must be a literal",
    OF_A_TASK + "n: int = 'a'": "parts.py:5: n='a': is not of the type int",
    OF_A_TASK + "n: int = None": "parts.py:5: n=None: is not of the type int; write",
    OF_A_TASK + "n: int = True": "parts.py:5: n=True: is not of the type int",
    OF_A_TASK + "n: Annotated[int, seqadd.within(1, 2)] = 3": "parts.py:5: n=3: must",
    OF_A_TASK + "n: Annotated[int, 5] = 3": "parts.py:5: n: 5: must be seqadd.within",
    OF_A_TASK + "n: Literal['a'] = 'b'": "parts.py:5: n='b': must be one of a",
    "@seqadd.cell('c')\nclass C:\n    def __init__(self, units, *, n=3): pass": "parts.py:5: n: is a key, so it",
    "@seqadd.cel('c')\nclass C: pass": "parts.py:3: @seqadd.cel: no such decorator; did you mean cell?",
    "@seqadd.task('t')\nclass T: characters = 'a'": "parts.py:4: @task: missing a required argument: 'characters'; "
    + 'write @seqadd.task("NAME", characters="0123456789")',
    "@seqadd.cell('c')\nclass C:\n    def __init__(self, units, n: int = 3): pass": "parts.py:5: cell=c: n: int: "
    + "is no key before the *; write (..., *, n: int = ...)",
    "@seqadd.architecture('c')\ndef f(question, answer_length, cell, n: int = 3): pass": "parts.py:4: architecture=c: "
    + "n: int: is no key before the *",
    "@seqadd.architecture('c', cell=None)\ndef f(question, previous): pass": "parts.py:4: architecture=c: has the "
    + "parameter previous, but reads_answer=False; it must have (question, answer_length)",
    "@seqadd.cell('c')\nclass C:\n    def __init__(self, units, *, on=True): pass": "parts.py:5: on: is a key, so it "
    + "needs a type: on: bool = True",
    "@seqadd.cell('c')\nclass C:\n    def __init__(self): pass": "parts.py:4: cell=c: its constructor must have units",
}


def test_what_the_program_gives_may_have_types_and_defaults(tmp_path):
    path = write(
        tmp_path / "typed.py",
        "@seqadd.cell('c')\nclass C:\n    def __init__(self, units: int = 3, recurrent_activation: str = 'a', *, "
        "leak: float = 0.1): pass\n@seqadd.architecture('d')\n"
        "def f(question, answer_length: int = 4, cell: str = 'a', *, n: int = 3): pass\n",
    )
    assert [part.key_names for part in read_parts(path)] == [["leak"], ["n"]]


@pytest.mark.parametrize("body", BAD)
def test_a_file_that_declares_no_part_is_refused_with_its_line(body, tmp_path):
    before = dict(declared())
    with pytest.raises(ConfigError) as refused:
        declare([write(tmp_path / "parts.py", body)])
    assert str(refused.value).removeprefix(f"{tmp_path}/parts.py: ").startswith(BAD[body])
    assert "\n" not in str(refused.value)
    assert dict(declared()) == before


def test_the_digest_is_that_of_the_code_and_of_the_modules_beside_it(tmp_path):
    part = "import helper\n@seqadd.cell('c')\nclass C:\n    n = helper.N\n"
    file, helper = write(tmp_path / "c.py", part), write(tmp_path / "helper.py", "import deeper\nN = 1")
    deeper, unused = write(tmp_path / "deeper.py", "import os, c"), write(tmp_path / "unused.py", "")
    assert list(read_sources(file)) == [file.name, deeper.name, helper.name]

    def code():
        return read_parts(file)[0].code

    first = code()
    write(file, f"# a comment\n\n{part}")
    unused.write_text("1")
    assert code() == first
    write(deeper, "import os, c\nx = 1")
    assert code() != first
    write(deeper, "import os, c")
    assert code() == first
    write(file, part + "    m = 2\n")
    assert code() != first


def test_an_edited_part_is_another_condition(files):
    before = load_config("cell=leaky")
    files["leaky"].write_text(LEAKY + "\nx = 1\n")
    declare(files.values())
    after = load_config("cell=leaky")
    assert after.part_code != before.part_code
    assert after.condition_hash() != before.condition_hash()
    assert load_config("cell=gru").condition_hash() == load_config("cell=gru").condition_hash()


def test_code_is_taken_from_the_arguments_and_a_module_is_found_without_its_import(files, tmp_path, monkeypatch):
    package = tmp_path / "outer" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").write_text("raise SystemExit('this package must not be imported')")
    (package / "__init__.py").write_text("")
    (package / "cells.py").write_text(ECHO)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SEQADD_CODE", os.pathsep.join([str(files["reader"]), "leaky"]))
    words = ["-m", "--code", "outer.inner.cells", "seed=1", f"--code={files['leaky']}"]
    assert take_code(words) == ["-m", "seed=1"]
    assert {name for _, name in declared()} == {"echo", "leaky", "reader", "leaky_reader", "multiplication"}
    assert code_words() == ["--code", "outer.inner.cells", "--code", str(files["leaky"])]
    monkeypatch.delenv("SEQADD_CODE")
    assert take_code([]) == []
    assert {name for _, name in declared()} == {"multiplication"}


def test_installed_parts_are_there_and_a_broken_one_is_named(files, tmp_path, monkeypatch, capsys):
    info = tmp_path / "some-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[seqadd.parts]\ncell.leaky = leaky\ncell.gone = nothing_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    take_code([])
    assert ("cell", "leaky") in declared()
    assert capsys.readouterr().err == (
        "seqadd: installed part cell.gone: not available: module nothing_there declares no cell.gone\n"
    )


@pytest.mark.parametrize("main", [run.main, table.main, reproduce.main])
def test_a_file_that_is_not_there_is_refused_by_every_command(main, call):
    code, out, err = call(main, "--code", "gone.py")
    assert (code, out) == (2, "")
    assert err.endswith("gone.py: there is no such file\n")
    assert call(main, "--code") == (
        2,
        "",
        "seqadd: --code: needs a file or a module's name, for example --code mgu.py\n",
    )
    assert call(main, "--code=no.such")[2] == "seqadd: --code no.such: no such module; a file's name ends in .py\n"


def test_help_lists_declared_parts_and_their_keys(files, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = help_text.help_text()
    assert "cell: dense, gru, leaky, lstm, simple_rnn\n" in text
    assert "\nWith cell=leaky, a part of leaky.py\n" in text
    (line,) = [line for line in text.splitlines() if line.startswith("  leaky.leak ")]
    assert line.split()[1] == "0.1"
    assert "[in 0..1]" in line
    assert "\nWith task=multiplication\n" in text


def parameters(*words):
    """The parameters of a run of this configuration, as the store has them."""
    return {key: schema.override_text(value) for key, value in load_config(*words).result_keys().items()}


@pytest.mark.parametrize("words", [
    ("cell=leaky", "leaky.mode=b", 'leaky.text="a, b = true"'), ("cell=leaky", 'leaky.text="true"'),
    ("architecture=reader",), ("architecture=leaky_reader", "cell=gru"), ("task=echo", "echo.longest=2"),
    ("task=multiplication",), ("cell=gru",),
])  # fmt: skip
def test_a_recorded_run_composes_again(words, files):
    config, params = load_config(*words), parameters(*words)
    assert load_config(*recorded_overrides(params)) == config
    assert config_of(SimpleNamespace(run_id="1a", params=params)) == config


def test_a_recorded_run_of_another_part_is_refused_and_says_how_to_get_its_file(files):
    before = {words: parameters(*words) for words in (("cell=leaky",), ("architecture=reader",), ("task=echo",))}
    files["leaky"].write_text(LEAKY + "\nx = 1\n")
    declare([files["leaky"]])
    for words, params in before.items():
        with pytest.raises(RunNotFound) as refused:
            config_of(SimpleNamespace(run_id="1a", params=params, tags={}))
        what = "is now" if words == ("cell=leaky",) else f"{words[0]} is not declared"
        assert str(refused.value).startswith("run=1a: was trained with ")
        assert what in str(refused.value)
        assert str(refused.value).endswith("the run's own file: mlflow artifacts download -r 1a -a parts")


def test_differences_name_the_part_and_its_keys_and_need_no_declaration(files):
    runs = [
        parameters("cell=leaky", "leaky.leak=0.3"),
        parameters("architecture=reader"),
        parameters("architecture=leaky_reader", "seed=2"),
        parameters("task=echo", "echo.longest=2", "cell=gru"),
        parameters("cell=dense"),
    ]
    of_these = [
        {"cell": "leaky", "leaky.leak": "0.3"},
        {"architecture": "reader"},
        {"architecture": "leaky_reader", "seed": "2"},
        {"task": "echo", "cell": "gru", "echo.longest": "2"},
        {"cell": "dense"},
    ]
    assert differences(runs) == of_these
    declare([])
    without = differences(runs)
    assert without[0]["cell"] == "leaky"
    assert without[0]["leaky.leak"] == "0.3"
    assert without[1] == {"architecture": "reader", "reader.width": "36"}
    assert without[3:] == [{"task": "echo", "cell": "gru", "echo.longest": "2"}, {"cell": "dense"}]


def test_costs_are_what_was_measured_and_never_fail(files):
    for words in (["cell=leaky"], ["architecture=reader"], ["task=echo"], ["architecture=leaky_reader", "task=echo"]):
        config = load_config(*words)
        assert sum(cost.memory_needed(config).values()) > cost.LIBRARIES
        assert cost.seconds_per_epoch(config) > 0
    measured = Measured(parameters=10**9, activations=100, largest=10, multiplications=1e6)
    config.parts["architecture"] = replace(config.parts["architecture"], measured=measured)
    assert sum(cost.memory_needed(config).values()) > 20e9
    assert cost.seconds_per_epoch(config) == pytest.approx(3 * 45_000 * 1e6 / 4e10)


def test_a_claim_with_a_part_that_is_not_declared_is_named_and_the_others_go_on(files, tmp_path):
    make_claim(tmp_path / "claims", "plain")
    own = SWEEP.replace("cell: simple_rnn\n", "").replace("seed: range(2)", "seed: range(2)\n      cell: leaky")
    make_claim(tmp_path / "claims", "own", sweep=own)
    assert [claim.name for claim in read_all(tmp_path / "claims")] == ["own", "plain"]
    declare([])
    lines: list[str] = []
    assert [claim.name for claim in read_all(tmp_path / "claims", notify=lines.append)] == ["plain"]
    (line,) = lines
    assert line.startswith("left out: ")
    assert line.endswith("cell=leaky: must be one of dense, gru, lstm, simple_rnn, or a part of --code FILE")
    for arguments in ({}, {"wanted": ["own"], "notify": lines.append}):
        with pytest.raises(PartNotDeclared):
            read_all(tmp_path / "claims", **arguments)
