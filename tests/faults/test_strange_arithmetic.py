"""Flags that TensorFlow computes otherwise with, or does not run with; models of all sizes; other code's weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMMAND, SMALL, client_of, runs_of

pytestmark = pytest.mark.long

FAST_MATH = "--xla_cpu_enable_fast_math=true"
FAST = [*SMALL, "cell=simple_rnn", "epochs=2"]


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"XLA_FLAGS": "--xla_no_such_flag"}, "Unknown flag in XLA_FLAGS: --xla_no_such_flag"),
        ({"XLA_FLAGS": "no_such_file"}, 'Could not open file "no_such_file" to read flags'),
        ({"XLA_FLAGS": f"{FAST_MATH[:-4]}perhaps"}, "Flag parsing failed"),
        ({"TF_XLA_FLAGS": "--tf_xla_no_such_flag"}, "Unknown flag in TF_XLA_FLAGS: --tf_xla_no_such_flag"),
        ({"XLA_FLAGS": "--xla_dump_no_such"}, "Unknown flag in XLA_FLAGS: --xla_dump_no_such"),
    ],
)
def test_what_tensorflow_does_not_know_is_refused_in_its_own_words(environment, said, tmp_path):
    done = command(tmp_path, *COMMAND, *FAST, **environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert runs_of(tmp_path) == []


def test_a_sweep_refuses_them_before_its_first_job(tmp_path):
    done = command(tmp_path, *COMMAND, "-m", *FAST, "seed=0,1", XLA_FLAGS="--xla_no_such_flag")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Unknown flag in XLA_FLAGS" in done.stderr
    assert runs_of(tmp_path) == []


def test_a_run_with_flags_is_a_run_of_its_own(tmp_path):
    outputs = [
        command(tmp_path, *COMMAND, *FAST, "epochs=2", **environment)
        for environment in ({"XLA_FLAGS": FAST_MATH}, {}, {"XLA_FLAGS": f"{FAST_MATH} --xla_dump_to={tmp_path}/dump"})
    ]
    assert [done.returncode for done in outputs] == [0, 0, 0], outputs
    assert "finished already" not in outputs[1].stdout
    assert "finished already" in outputs[2].stdout  # what is dumped alters nothing
    tags = [run.data.tags for run in runs_of(tmp_path)]
    assert sorted(each.get("flags", "") for each in tags) == ["", f"XLA_FLAGS={FAST_MATH}"]
    longer = command(tmp_path, *COMMAND, *FAST, "epochs=3", XLA_FLAGS=FAST_MATH)
    (continued,) = [run for run in runs_of(tmp_path) if run.data.params["epochs"] == "3"]
    before = client_of(tmp_path).get_run(continued.data.tags["continued_from"])
    assert longer.returncode == 0, longer.stderr
    assert before.data.tags["flags"] == continued.data.tags["flags"]
    shown = command(tmp_path, sys.executable, "-m", "seqadd.table", *FAST[:-1], "--epochs", "2")
    assert "2 not counted, trained with flags that can change numbers" in shown.stdout


@pytest.mark.parametrize(
    "settings",
    [
        '{"floatx": "float64"}',
        '{"floatx": "float16"}',
        '{"epsilon": 0.1}',
        '{"image_data_format": "channels_first"}',
        '{"backend": "jax"}',
        "not JSON",
    ],
)
def test_what_is_in_keras_json_alters_no_weight(settings, tmp_path, a_run):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(settings)
    done = command(tmp_path, *COMMAND, *FAST, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (run,) = runs_of(tmp_path)
    assert run.data.tags["weights_sha256"] == a_run
    assert (tmp_path / ".keras" / "keras.json").read_text() == settings


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the weights of a run on a machine without keras.json."""
    folder = tmp_path_factory.mktemp("plain")
    done = command(folder, *COMMAND, *FAST, HOME=str(folder))
    assert done.returncode == 0, done.stderr
    assert not (folder / ".keras").exists()
    (run,) = runs_of(folder)
    return run.data.tags["weights_sha256"]
