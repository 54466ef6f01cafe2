"""Own parts before a run: copied, checked once, and what an edit does afterwards."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from own_parts import cell

from seqadd import ConfigError, load_config
from seqadd.config.composition import load_config as compose
from seqadd.config.parts import Measured
from seqadd.launch import own_parts, sweep, sweep_page
from seqadd.models import parts
from seqadd.models.parts import load_part
from seqadd.tracking.part_copies import sources
from seqadd.training.dataset import data_digest

SIZE = Measured(parameters=10, activations=20, largest=5, multiplications=30.0)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The models that were checked, each by its cell and architecture; none is built."""
    monkeypatch.chdir(tmp_path)
    models: list[str] = []

    def check(config: own_parts.Config, notify: Callable[[str], None]) -> Measured:
        models.append(f"{config.cell} {config.architecture}")
        return SIZE

    monkeypatch.setattr(own_parts, "check_in_a_process", check)
    return models


def quiet(text: str) -> None:
    """Nobody reads it."""


def test_each_model_is_checked_once_whatever_its_seed_and_epochs(
    own: Callable[[str], None], checked: list[str]
) -> None:
    own(cell())
    words = [["seed=0"], ["seed=1", "epochs=9"], ["batch_size=64"], ["architecture=aligned", "decoder_units=null"]]
    configs = own_parts.prepare([load_config("cell=mine", *each) for each in words], quiet)
    assert checked == ["mine repeat_vector", "mine aligned"]
    assert {part.measured for config in configs for part in config.parts.values()} == {SIZE}
    # The next command finds what the check has found.
    own_parts.prepare([load_config("cell=mine")], quiet)
    assert len(checked) == 2
    for file in Path("unfinished/parts").rglob("checked-*.json"):
        file.write_text("{", encoding="utf-8")
    own_parts.prepare([load_config("cell=mine")], quiet)
    assert len(checked) == 3


def test_models_of_the_package_are_not_checked(checked: list[str]) -> None:
    configs = [load_config(), load_config("task=multiplication")]
    assert own_parts.prepare(configs, quiet) == configs
    assert checked == []
    assert not Path("unfinished").exists()


def test_jobs_load_the_copy_and_a_later_edit_changes_nothing(
    own: Callable[[str], None], checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own(cell())
    config = load_config("cell=mine")
    edited = Path(config.parts["cell"].path)
    (config,) = own_parts.prepare([config], quiet)
    copy = Path(config.parts["cell"].path)
    assert copy.parent.parent == Path("unfinished/parts").absolute()
    assert copy.read_text(encoding="utf-8") == edited.read_text(encoding="utf-8")
    assert sources(config) == {f"parts/{config.parts['cell'].code}/{copy.name}": copy.read_bytes()}
    edited.write_text("nothing", encoding="utf-8")
    assert load_part(config.parts["cell"]).__name__ == "Mine"
    assert compose("cell=mine", "seed=3").parts["cell"].path == str(copy)  # as composed for later jobs
    copy.write_text(cell("return 2 * h, [h]"), encoding="utf-8")
    monkeypatch.setattr(parts, "_loaded", {})  # as in another process
    with pytest.raises(ConfigError, match="has changed since the run was started"):
        load_part(config.parts["cell"])


def test_a_copy_holds_the_modules_beside_the_file(
    own: Callable[[str], None], checked: list[str], tmp_path: Path
) -> None:
    (tmp_path / "helping.py").write_text("WIDTH = 3", encoding="utf-8")
    own("import helping\n" + cell())
    (config,) = own_parts.prepare([load_config("cell=mine")], quiet)
    copy = Path(config.parts["cell"].path)
    assert (copy.parent / "helping.py").read_text(encoding="utf-8") == "WIDTH = 3"
    folder = f"parts/{config.parts['cell'].code}"
    assert sources(config).keys() == {f"{folder}/{copy.name}", f"{folder}/helping.py"}


def test_a_job_checks_what_nobody_has_checked(own: Callable[[str], None], checked: list[str]) -> None:
    own(cell("return h"))
    (config,) = own_parts.prepare([load_config("cell=mine")], quiet, check=False)
    assert checked == []
    with pytest.raises(ConfigError, match="must return"):
        own_parts.check_unless_checked(config)
    measured = dataclasses.replace(config.parts["cell"], measured=SIZE)
    own_parts.check_unless_checked(dataclasses.replace(config, parts={"cell": measured}))


def test_what_the_check_finds_is_written_for_the_next_command(own: Callable[[str], None], checked: list[str]) -> None:
    own(cell())
    own_parts.prepare([load_config("cell=mine")], quiet)
    (file,) = Path("unfinished/parts").rglob("checked-*.json")
    assert Measured(**json.loads(file.read_text(encoding="utf-8"))) == SIZE


ECHO = """
import os, threading
import seqadd

print("loaded in", threading.current_thread().name)

@seqadd.task("echo", characters="ab")
class Echo:
    def draw(self, rng, n):
        return ["".join(rng.choice(["a", "b"], size=7)) for _ in range(n)]
    def solve(self, question):
        return question
    def roomiest(self):
        return ("a" * 7,)
"""


class Dataless:
    """A store with a run of every configuration, of other data."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def finished_run(self, config: own_parts.Config, digest: Callable[[], str]) -> None:
        self.digests.append(digest())


def test_a_sweep_looks_for_finished_runs_of_an_own_task_without_running_its_file(
    own: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here a thread stands for the process."""
    started: list[threading.Thread] = []

    def start(context: object, work: Callable[..., None], arguments: tuple[object, ...], name: str) -> object:
        ours, theirs = multiprocessing.Pipe()
        started.append(threading.Thread(target=work, args=(*arguments, theirs), name=name))
        started[-1].start()
        return started[-1], ours

    monkeypatch.setattr(own_parts, "start_process", start)
    own(ECHO)
    words = ["task.n_questions=20", "batch_size=2"]
    plain, *others = [
        load_config(*words),
        *(load_config("task=echo", f"seed={seed}", *words) for seed in (0, 1)),
    ]
    store = Dataless()
    assert sweep.finished_jobs(store, ["a", "b", "c"], [plain, *others]) == {}  # type: ignore[arg-type]
    assert capsys.readouterr().out == "loaded in seqadd data\n"
    assert [thread.is_alive() for thread in started] == [False]
    assert store.digests == [data_digest(config) for config in (plain, *others)]
    assert len(set(store.digests)) == 3


def test_a_file_that_fails_while_a_sweep_looks_for_its_runs_is_named(own: Callable[[str], None]) -> None:
    own(ECHO)
    config = load_config("task=echo", "task.n_questions=200", "batch_size=2")
    ours, theirs = multiprocessing.Pipe()
    ours.send(config)
    threading.Thread(target=own_parts._digest, args=(theirs,), daemon=True).start()
    assert "gave 128 distinct questions" in ours.recv()
    ours.close()


@pytest.mark.parametrize("cells", [("leaky", "gru"), ("gru", "leaky")])
def test_the_rows_of_a_sweep_have_a_parts_keys_where_it_is_chosen(own: Callable[[str], None], cells: tuple[str, str]):
    own(
        "import seqadd\n@seqadd.cell('leaky')\nclass Leaky:\n"
        "    def __init__(self, units, *, leak: float = 0.1): pass\n"
    )
    rows = sweep_page.job_rows(cells, [load_config(f"cell={cell}") for cell in cells], {}, [])
    settings = {row.label: row.settings for row in rows}
    assert settings["leaky"]["leaky.leak"] == "0.1"
    assert settings["gru"]["leaky.leak"] == "null"
