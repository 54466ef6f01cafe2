"""What a run may be. Every refusal is one line that names key, value and limit, and leaves nothing behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_config

from seqadd import run
from seqadd.config import help_text, schema, validation
from seqadd.errors import ConfigError
from seqadd.system import files
from seqadd.system.hardware import processors

REFUSALS = {
    "epochs=0": "epochs=0: must be at least 1 (passes over the training set)",
    "batch_size=-5": "batch_size=-5: must be at least 1 (sums per training step; at most the size of the training set)",
    "batch_size=45001": "batch_size=45001: must be at most 45000, the size of the training set",
    "task.digits=0": "task.digits=0: must be in 1..9 (most digits of an addend)",
    "task.digits=10": "task.digits=10: must be in 1..9 (most digits of an addend)",
    "task.n_questions=500501": "cannot draw 500501 distinct sums: 3-digit addends give 500500 pairs; "
    "lower task.n_questions or raise task.digits",
    "task.held_out=0": "task.held_out=0.0: must be above 0 and below 1 (share of the sums held out for validation)",
    "task.held_out=1": "task.held_out=1.0: must be above 0 and below 1 (share of the sums held out for validation)",
    "task.held_out=nan": "task.held_out=nan: must be above 0 and below 1 (share of the sums held out for validation)",
    "task.held_out=0.00001": "task.held_out=1e-05: leaves 50000 sums for training and 0 for validation, "
    "of task.n_questions=50000; both must be at least 1",
    "encoder_units=0": "encoder_units=0: must be at least 1 "
    "(units of the encoder; with architecture=aligned, of the only layer)",
    "decoder_units=0": "decoder_units=0: must be at least 1 (units of the decoder; null with architecture=aligned)",
    "decoder_units=null": "decoder_units=null: architecture=repeat_vector needs a decoder of at least 1 unit",
    "architecture=aligned decoder_units=32": "decoder_units=32: architecture=aligned has no decoder; leave it null",
    "cell=dense architecture=repeat_vector": "cell=dense architecture=repeat_vector: a dense cell has no memory; "
    "use architecture=aligned, or a recurrent cell",
    "learning_rate=0": "learning_rate=0.0: must be finite and above 0 (step size of Adam)",
    "learning_rate=inf": "learning_rate=inf: must be finite and above 0 (step size of Adam)",
    "seed=-1": "seed=-1: must be in 0..4294967295 (seed of the sums, the initial weights and the order of each epoch)",
    "threads=1000": f"threads=1000: must be at most {processors()}, the available processors",
    "encoder_units=1000000": "encoder_units=1000000: this run needs at least 80,210.4 GB of memory",
    "batch_size=450000 task.n_questions=500500 encoder_units=100000": "batch_size=450000: this run needs at least 8,",
    "task.digits=9 task.n_questions=1000000000000": "task.n_questions=1000000000000: this run needs at least 483,600.8",
    "cell=gry": "cell=gry: must be one of dense, gru, lstm, simple_rnn",
    "loss=hinge": "loss=hinge: must be one of binary, categorical",
    "era=keras1": "era=keras1: must be one of keras2, keras3",
    "architecture=transformer": "architecture=transformer: must be one of aligned, attention, encoder_decoder, pooled, "
    "readout, repeat_vector, repeat_vector_stacked",
    "task=six_digits": "task=six_digits: must be one of five_digits, four_digits, mixed_lengths, multiplication, nine",
    "epoch=5": "epoch: no such key; did you mean epochs?",
    "lr=0.1": "lr: no such key; did you mean learning_rate?",
    "cell gru": "cell gru: write cell=gru",
    "--cell gru": "--cell: keys are not options; write cell=gru",
    "--sell gru": "--sell: no such option; python -m seqadd.run --help lists all",
    "epochs=1 -m seed=0,1": "seed=0,1: stands after an option; write options before KEY=VALUE",
    "task.digit=2": "task.digit: no such key; did you mean task.digits?",
    "hydra.launcher.job=2": "hydra.launcher.job: no such key; did you mean hydra.launcher.jobs?",
    "+experimnt=cells": "experimnt: no such key; did you mean tracking.experiment?",
    "+_target_=os.system": "_target_: no such key; python -m seqadd.run --help lists all keys",
    "epochs=many": "epochs=many: must be an integer, at least 1",
    "epochs=1.5": "epochs=1.5: must be an integer, at least 1",
    "epochs=null": "epochs: must not be null",
    "cell=[lstm,gru]": "cell: must be one choice, not several; sweep over them with -m cell=A,B",
    "task=null": "task=null: must not be null; leave task out for the default",
    "epochs=[": "cannot read the override 'epochs=['",
    "tracking.uri=": "tracking.uri=: must not be empty (MLflow tracking URI)",
    "cell=lstm,gru": "cell=lstm,gru: several values; sweep over them with -m cell=lstm,gru",
    "-m cell=lstm,gry": "cell=gry: must be one of dense, gru, lstm, simple_rnn",
    "-m seed=1..3": "seed=1..3: must be an integer, in 0..4294967295; to sweep, write -m seed=range(1,4)",
    "-m epochs=1,0,2": "epochs=0: must be at least 1 (passes over the training set) (job epochs=0; no job was started)",
    "-m seed=0,1 hydra.launcher.jobs=0": "hydra.launcher.jobs=0: must be an integer of at least 1, or null",
    "-m seed=0,1 hydra.launcher.jobs=1000": f"hydra.launcher.jobs=1000: must be at most {processors()}, the limit ",
    "-m seed=0,1 hydra.launcher.jobs=x": "hydra.launcher.jobs=x: must be an integer",
}


def test_what_needs_more_memory_than_there_is_is_refused_with_the_key_that_asks_for_most(monkeypatch):
    monkeypatch.setattr(validation, "memory", lambda: 2_000_000_000)
    validation.check_machine(make_config("batch_size=45000"))
    # 4 bytes x 1.5 x 4 gates x (7 x 512 + 4 x 512) x 45,000 = 6.08 GB; weights, questions, validation: 0.15 GB
    too_much = make_config("batch_size=45000", "encoder_units=512", "decoder_units=512")
    with pytest.raises(ConfigError) as refused:
        validation.check_machine(too_much)
    assert str(refused.value) == (
        "batch_size=45000: this run needs at least 7.0 GB of memory, this machine has 2.0 GB; lower batch_size"
    )
    # Nothing in it is a square of the width: 4 bytes x 5 x 100,000 x 13 = 26 MB of weights.
    validation.check_machine(
        make_config("cell=dense", "encoder_units=100000", "batch_size=100", "task.n_questions=1000")
    )


def test_a_table_of_runs_that_this_machine_could_not_do_is_shown(monkeypatch):
    monkeypatch.setattr(validation, "memory", lambda: 1)
    assert make_config("cell=lstm").cell == "lstm"


@pytest.mark.parametrize("overrides", REFUSALS)
def test_a_wrong_value_is_refused_in_one_line_and_leaves_nothing(overrides, call, in_empty_folder):
    code, out, err = call(run.main, *overrides.split())
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"seqadd: {REFUSALS[overrides]}")
    assert list(in_empty_folder.iterdir()) == []


def test_a_refusal_and_help_import_neither_tensorflow_nor_mlflow(tmp_path: Path):
    # Their absence is what makes an answer come in about a second; on a busy machine a clock would prove less.
    program = """
import sys
from seqadd import run
for sys.argv[1:] in ["epochs=0"], ["-m", "epochs=0,1"], ["--help"]:
    code = 0
    try:
        run.main()
    except SystemExit as ended:
        code = ended.code
    print("code", code, *sorted({'tensorflow', 'keras', 'mlflow', 'pandas', 'matplotlib'} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert re.findall("^code (.*)", done.stdout, re.MULTILINE) == ["2", "2", "0"], done


def test_help_shows_groups_every_key_with_its_meaning_and_three_examples(call):
    code, out, _ = call(run.main, "--help")
    assert code == 0
    assert "cell: dense, gru, lstm, simple_rnn" in out
    assert out.count("\n  python -m seqadd.run") == 3
    defaults = make_config().flat()
    for name, field in schema.described_keys(parts=()):
        if name not in (*schema.SET_BY_SWEEPS, *schema.SET_BY_PARTS):
            (line,) = [line.split() for line in out.splitlines() if line.startswith(f"  {name} ")]
            assert line[1] == schema.override_text(defaults[name])
            assert field.metadata["meaning"].split()[0] in out
    assert max(map(len, out.splitlines())) <= 120
    titles = [line for line in out.splitlines() if line in ("The model", "The sums", "The training", "Rarely set")]
    assert titles == ["The model", "The sums", "The training", "Rarely set"]
    assert out.index("  epochs ") < out.index("Rarely set") < out.index("  tracking.relocate ")


def test_the_help_of_a_narrow_terminal_fits_into_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    keys = help_text.help_template().partition("Keys, each with its default:")[2].partition("Search:")[0]
    assert max(map(len, keys.splitlines())) <= 60


def test_the_default_is_the_articles_main_model():
    default = make_config()
    assert default.condition() == {
        "cell": "lstm",
        "architecture": "repeat_vector",
        "encoder_units": 64,
        "decoder_units": 32,
        "loss": "categorical",
        "era": "keras2",
        "task.digits": 3,
        "task.n_questions": 50_000,
        "task.held_out": 0.1,
        "batch_size": 512,
        "learning_rate": 0.001,
        "reverse": True,
        "shuffle": "each_epoch",
        # What some architectures and tasks alone have.
        **dict.fromkeys(["peek", "score", "teacher_forcing", "curriculum", "task.equal_lengths", "task.longest"]),
        # What own parts, and no other, have.
        **dict.fromkeys(["task.name", "reverse_answer", "part_code"]),
    }
    assert default.answer_length == 4


@pytest.mark.parametrize("group", schema.GROUPS)
def test_every_choice_of_every_group_can_be_run(group):
    choices = [path.stem for path in (files.resource_dir("conf") / group).glob("*.yaml")]
    assert choices
    for choice in choices:
        make_config(f"{group}={choice}")


def test_cell_dense_alone_is_the_articles_dense_experiment():
    dense = make_config("cell=dense")
    assert (dense.architecture, dense.decoder_units, dense.answer_length) == ("aligned", None, 7)


def test_mlflows_own_variables_say_where_runs_are_recorded_and_settings_count_more(monkeypatch):
    assert make_config().tracking.uri == "sqlite:///mlflow.db"
    assert make_config().tracking.experiment == "seqadd"
    before = make_config().config_hash()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    assert make_config().tracking.uri == "http://127.0.0.1:5000"
    assert make_config().tracking.experiment == "ours"
    assert make_config().config_hash() == before
    assert make_config("tracking.uri=sqlite:///here.db").tracking.uri == "sqlite:///here.db"


def test_hashes_tell_runs_and_conditions_apart():
    base = make_config()
    same_condition = make_config("seed=1", "epochs=50", "threads=1", "jit=false")
    elsewhere = make_config("tracking.uri=sqlite:///elsewhere.db")
    other = make_config("era=keras3")
    assert base.config_hash() == elsewhere.config_hash() != same_condition.config_hash()
    assert base.condition_hash() == same_condition.condition_hash() != other.condition_hash()


def test_a_key_that_is_null_leaves_hashes_as_they_were_before_there_was_such_a_key(monkeypatch):
    before = make_config().config_hash()
    keys = schema.Config.result_keys
    monkeypatch.setattr(schema.Config, "result_keys", lambda self: {**keys(self), "beam_width": None})
    assert make_config().config_hash() == before


def test_nothing_in_a_group_can_name_code():
    with pytest.raises(ConfigError, match="no such key"):
        make_config("+task._target_=os.system")
