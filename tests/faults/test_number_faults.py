"""What can alter a run's numbers from outside is told, set in code, or refused before anything is recorded."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from conftest import SMALL, make_config, quick_database, runs_of
from test_table import record
from trained_runs import record_run

from seqadd import answer, inspect, reproduce, run, train
from seqadd.claims.committed_curves import empty
from seqadd.comparison import notes
from seqadd.comparison.curves import find_runs, learning_curves
from seqadd.config import composition
from seqadd.config.messages import short_line
from seqadd.errors import CheckpointError, ConfigError
from seqadd.evaluation import recorded_weights, run_selection, trained_run
from seqadd.inspection import report_folder
from seqadd.models import architectures
from seqadd.search import study
from seqadd.search.space import SearchSettings, SearchSpace
from seqadd.system import hardware, numeric_flags
from seqadd.tracking import connection, provenance
from seqadd.tracking.run_filter import ALL_RUNS, RunFilter
from seqadd.tracking.store import RunRecord
from seqadd.training import checkpoint, fingerprint
from seqadd.training.checkpoint import Checkpoint
from seqadd.training.fingerprint import code_digest, fingerprint_of

FAST_MATH = "--xla_cpu_enable_fast_math=true"
TINY = [*SMALL, "cell=simple_rnn", "epochs=1"]


@pytest.fixture(autouse=True)
def without_flags(monkeypatch):
    for name in list(os.environ):
        if name in numeric_flags._LISTS or numeric_flags._SETTINGS.fullmatch(name):
            monkeypatch.delenv(name)
    numeric_flags._try.cache_clear()
    yield
    numeric_flags._try.cache_clear()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, ""),
        ({"XLA_FLAGS": FAST_MATH}, f"XLA_FLAGS={FAST_MATH}"),
        ({"XLA_FLAGS": f"  --xla_b=2\t{FAST_MATH}  "}, f"XLA_FLAGS=--xla_b=2 {FAST_MATH}"),
        ({"XLA_FLAGS": "--xla_b=2 --xla_a=1"}, "XLA_FLAGS=--xla_a=1 --xla_b=2"),
        ({"XLA_FLAGS": "--xla_a=2 --xla_b --xla_a=1"}, "XLA_FLAGS=--xla_a=2 --xla_a=1 --xla_b"),
        ({"XLA_FLAGS": "--xla_dump_to=here --xla_gpu_per_fusion_autotune_cache_dir=there --xla_log_hlo_text=x"}, ""),
        ({"XLA_FLAGS": "--xla_catalogue=1"}, "XLA_FLAGS=--xla_catalogue=1"),  # neither a cache nor a log
        ({"XLA_FLAGS": "--xla_a='b c' no_flag --xla_d"}, "XLA_FLAGS=--xla_a=b c"),
        ({"XLA_FLAGS": "no_such_file"}, "XLA_FLAGS=no_such_file"),
        ({"XLA_FLAGS": ""}, ""),
        ({"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_persistent_cache_directory=x"},
         "TF_XLA_FLAGS=--tf_xla_auto_jit=2"),
        ({"TF_ENABLE_ONEDNN_OPTS": "0", "NVIDIA_TF32_OVERRIDE": "1"},
         "NVIDIA_TF32_OVERRIDE=1; TF_ENABLE_ONEDNN_OPTS=0"),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_DEFAULT_FPMATH_MODE": "BF16", "ONEDNN_VERBOSE": "1"},
         "DNNL_DEFAULT_FPMATH_MODE=BF16; ONEDNN_MAX_CPU_ISA=AVX2"),
        ({"TF_SET_ONEDNN_FPMATH_MODE": "BF16", "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_LEVEL": "2"},
         "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_LEVEL=2; TF_SET_ONEDNN_FPMATH_MODE=BF16"),
        ({"TF_CUDNN_DETERMINISTIC": "1", "TF_FP16_MATMUL_USE_FP32_COMPUTE": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
         "CUBLAS_WORKSPACE_CONFIG=:4096:8; TF_CUDNN_DETERMINISTIC=1; TF_FP16_MATMUL_USE_FP32_COMPUTE=0"),
        ({"TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "CUDNN_HOME": "/usr", "TF_CONFIG": "{}"},
         ""),
        ({"TF_VAR_XLA_password": "secret", "TF_LOG": "debug"}, ""),  # Terraform's
    ],
)  # fmt: skip
def test_flags_that_can_alter_numbers_are_told_and_those_that_cannot_are_not(environment, said):
    assert numeric_flags.flags(environment) == said


def test_flags_in_a_file_are_those_in_it(tmp_path):
    (tmp_path / "flags").write_text(f"--xla_dump_to=here\n{FAST_MATH}\n")
    assert numeric_flags.flags({"XLA_FLAGS": str(tmp_path / "flags")}) == f"XLA_FLAGS={FAST_MATH}"


def test_many_flags_are_told_apart_and_fit_into_a_tag():
    first, second = (numeric_flags.flags({"XLA_FLAGS": f"--xla_a={'x' * 9000}{end}"}) for end in "ab")
    assert first != second
    assert len(first) < 1100


def test_a_checkpoint_is_gone_on_with_under_the_flags_that_it_was_made_with_and_no_others(tmp_path, monkeypatch):
    path, config = tmp_path / "a.checkpoint", make_config()
    without = fingerprint_of(config, "cd")
    checkpoint.save(path, Checkpoint(without, [], {}))
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    assert fingerprint_of(config, "cd") == without
    monkeypatch.setenv("XLA_FLAGS", FAST_MATH)
    made_with = fingerprint_of(config, "cd")
    with pytest.raises(CheckpointError, match=f"its flags is none, this run's is XLA_FLAGS={FAST_MATH}"):
        checkpoint.load(path, made_with)
    checkpoint.save(path, Checkpoint(made_with, [], {}))
    checkpoint.load(path, made_with)
    with pytest.raises(CheckpointError, match=f"its flags is XLA_FLAGS={FAST_MATH}, this run's is none"):
        checkpoint.load(path, without)


def test_behind_the_same_name_processors_are_told_apart_by_their_instructions(tmp_path, monkeypatch):
    path, config = tmp_path / "a.checkpoint", make_config()
    monkeypatch.setattr(fingerprint, "instructions", lambda: "avx avx2 fma")
    here = fingerprint_of(config, "cd")
    checkpoint.save(path, Checkpoint(here, [], {}))
    checkpoint.load(path, here)
    with pytest.raises(CheckpointError, match="its instructions is avx avx2 fma, this run's is avx"):
        checkpoint.load(path, {**here, "instructions": "avx"})
    del here["instructions"]  # as earlier checkpoints have none
    checkpoint.save(path, Checkpoint(here, [], {}))
    checkpoint.load(path, {**here, "instructions": "avx"})


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("flags\t\t: fpu sse4_2 fma avx512f avx2 amx_tile vaes sha_ni f16c avx", "amx_tile avx avx2 avx512f f16c fma"),
        ("Features\t: fp asimd evtstrm aes sve2 svebf16 asimddp bf16 i8mm", "asimd asimddp bf16 i8mm sve2 svebf16"),
        ("bogomips\t: 50.00", ""),
    ],
)
def test_of_a_processor_those_instructions_count_that_arithmetic_follows_from(told, found, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda path: f"processor\t: 0\n{told}\n")
    assert hardware.instructions() == found


def test_a_run_says_its_flags_and_its_instructions(monkeypatch):
    monkeypatch.setattr(provenance, "instructions", lambda: "avx fma")
    tags = provenance.run_tags(make_config())
    assert tags["instructions"] == "avx fma"
    assert "flags" not in tags
    monkeypatch.setenv("XLA_FLAGS", FAST_MATH)
    assert provenance.run_tags(make_config())["flags"] == f"XLA_FLAGS={FAST_MATH}"


@pytest.fixture
def two_runs(in_empty_folder):
    """The ids of two finished runs of the same configuration: made without flags, and with."""
    config = make_config("cell=lstm", "epochs=10")
    tags = {"config_hash": config.config_hash(), "trajectory_hash": config.trajectory_hash(), "data_digest": "ab"}
    plain = record(config, {10: (0.5, 0.5)}, **tags)
    return plain, record(config, {10: (0.9, 0.9)}, flags=f"XLA_FLAGS={FAST_MATH}", **tags)


def test_a_run_made_with_other_flags_is_neither_finished_already_nor_gone_on_from(two_runs, monkeypatch):
    config, longer = make_config("cell=lstm", "epochs=10"), make_config("cell=lstm", "epochs=20")
    store = connection.open_store(config.tracking)
    for given, expected in (None, two_runs[0]), (FAST_MATH, two_runs[1]), ("--xla_other", None):
        if given is not None:
            monkeypatch.setenv("XLA_FLAGS", given)
        found = store.finished_run(config, lambda: "ab")
        assert (found and found.run_id) == expected
        assert [shorter.run_id for shorter in store.shorter_runs(longer)] == ([expected] if expected else [])


def test_the_table_takes_runs_without_flags_and_says_how_many_others_there_are(two_runs):
    def shown(run_filter):
        selection = composition.compose_selection(["cell=lstm"])
        found = find_runs(selection, run_filter)
        curves = learning_curves(found, selection, ["acc"], [10])
        return curves["run_id"].tolist(), notes.excluded_runs(found, selection, curves, [10])

    assert shown(ALL_RUNS) == (
        [two_runs[0]],
        ["1 not counted, trained with flags that can change numbers (--tag flags=VALUE includes them): lstm seed 0"],
    )
    assert shown(RunFilter(tags=(("flags", f"XLA_FLAGS={FAST_MATH}"),))) == ([two_runs[1]], [])


def test_a_run_made_with_flags_is_looked_at_where_there_is_no_other(in_empty_folder):
    config = make_config("cell=lstm", "epochs=10")
    run_id = record(config, {10: (0.5, 0.5)}, flags=f"XLA_FLAGS={FAST_MATH}")
    store = connection.open_store(config.tracking)
    (found,) = run_selection.recorded_runs(store, run_selection.read_choice(["cell=lstm"]))
    assert found.run_id == run_id


def test_reproduce_takes_runs_without_flags_and_trains_none_with(two_runs, call, monkeypatch):
    store = connection.open_store(make_config().tracking)
    assert [each.run_id for each in store.made_with_flags()] == [two_runs[1]]
    assert [each.run_id for each in store.condition_runs(make_config("cell=lstm").condition_hash())] == [two_runs[0]]
    monkeypatch.setattr(reproduce, "committed", lambda chosen: {each.name: empty() for each in chosen})
    code, out, err = call(reproduce.main, "cells", "--dry-run")
    assert (code, err) == (0, "")
    assert "left out             1 run made with flags that can alter numbers (tag flags)\n" in out
    monkeypatch.setenv("XLA_FLAGS", FAST_MATH)
    code, _, err = call(reproduce.main, "cells", "--seeds", "1")
    assert code == 2
    assert err == f"seqadd: XLA_FLAGS={FAST_MATH}: these flags can alter numbers; unset them to train a claim's runs\n"


def test_a_search_with_flags_is_another_search(monkeypatch):
    space = SearchSpace([], {}, {})
    settings = SearchSettings(3, "val_acc", 0, "none", 1, None)
    plain = study.identity(space, [make_config()], settings)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    assert study.identity(space, [make_config()], settings) == plain
    monkeypatch.setenv("XLA_FLAGS", FAST_MATH)
    assert study.identity(space, [make_config()], settings) != plain


#: As TensorFlow ends on a flag that it does not know.
ENDS = """
import sys
print("I0000 00:00:1.2  7 stub.cc:31] noise", file=sys.stderr)
sys.exit("F0000 00:00:1.3  7 flags.cc:234] Unknown flag in XLA_FLAGS: --xla_x")
"""
REFUSED = "XLA_FLAGS=--xla_x: TensorFlow does not start with it: Unknown flag in XLA_FLAGS: --xla_x; unset it"


@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]])
def test_flags_that_tensorflow_ends_with_are_refused_before_anything_is_recorded(mode, call, monkeypatch):
    monkeypatch.setattr(numeric_flags, "_PROGRAM", ENDS)
    monkeypatch.setenv("XLA_FLAGS", "--xla_x")
    quick_database(Path.cwd())
    code, _, err = call(run.main, *mode[:1], *TINY, *mode[1:])
    assert (code, err) == (2, f"seqadd: {REFUSED}\n")
    assert runs_of(Path.cwd()) == []


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit(3)", "exit code 3"),
        ("raise ValueError('no such precision')", "ValueError: no such precision"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        ("import time; time.sleep(60)", "no response in 1 seconds"),
        (ENDS, "Unknown flag in XLA_FLAGS: --xla_x"),
    ],
)
def test_however_tensorflow_ends_it_is_one_line(program, said, monkeypatch):
    monkeypatch.setattr(numeric_flags, "_PROGRAM", program)
    monkeypatch.setattr(numeric_flags, "_SECONDS_TO_TRY", 1.0 if "sleep" in program else 60.0)
    with pytest.raises(ConfigError) as refused:
        numeric_flags.check_flags({"XLA_FLAGS": "--xla_x"})
    assert str(refused.value) == f"XLA_FLAGS=--xla_x: TensorFlow does not start with it: {said}; unset it"


def test_where_there_are_no_flags_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(numeric_flags, "_PROGRAM", ENDS)
    numeric_flags.check_flags({"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_FLAGS": ""})


@pytest.fixture
def keras_config(tmp_path, monkeypatch):
    """A function: Keras' own module of settings, run anew for a person with this keras.json."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = importlib.util.find_spec("keras.src.backend.config").origin

    def read(**settings):
        (tmp_path / ".keras").mkdir(exist_ok=True)
        (tmp_path / ".keras" / "keras.json").write_text(json.dumps(settings))
        spec = importlib.util.spec_from_file_location("keras_settings", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return read


@pytest.mark.parametrize(
    "settings",
    [
        {"floatx": "float64"},
        {"floatx": "float16"},
        {"floatx": "no such"},
        {"epsilon": 0.1},
        {"backend": "jax"},
        {"image_data_format": "channels_first"},
        {"nnx_enabled": True},
    ],
)
def test_what_is_in_keras_json_does_nothing(settings, keras_config):
    found = keras_config(**settings)
    assert (found.floatx(), found.epsilon(), found.backend()) == ("float32", 1e-7, "tensorflow")
    assert found.image_data_format() == "channels_last"
    assert not found.is_nnx_enabled()


def test_keras_would_read_it_where_its_home_is_not_set(keras_config, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    assert keras_config(floatx="float64").floatx() == "float64"


@pytest.mark.parametrize(
    ("setting", "value", "default", "said"),
    [
        (keras.config.set_floatx, "float64", "float32", "keras.config.floatx() is 'float64'"),
        (keras.config.set_floatx, "float16", "float32", "keras.config.floatx() is 'float16'"),
        (keras.config.set_dtype_policy, "mixed_float16", "float32", "dtype_policy().name is 'mixed_float16'"),
        (keras.config.set_dtype_policy, "float64", "float32", "dtype_policy().name is 'float64'"),
        (keras.config.set_epsilon, 1e-3, 1e-7, "keras.config.epsilon() is 0.001"),
        (tf.config.run_functions_eagerly, True, False, "tf.config.functions_run_eagerly() is True"),
        (tf.config.experimental.enable_tensor_float_32_execution, False, True, "tensor_float_32_execution_enabled()"),
    ],
)
def test_a_process_that_computes_otherwise_is_refused_before_anything_is_recorded(
    setting, value, default, said, in_empty_folder
):
    setting(value)
    try:
        with pytest.raises(ConfigError) as refused:
            train.train_run(make_config(*TINY), print)
        with pytest.raises(ConfigError):
            run_selection.load_from(None, run_selection.Choice(("x",), (), (), ()))  # type: ignore[arg-type]
    finally:
        setting(default)
    assert said in str(refused.value)
    assert "in this process, runs need" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(in_empty_folder.iterdir()) == []


HERE = code_digest()
OTHER_CODE = (
    "it was trained by other code, so results may differ: code another of commit c0ffeec0ffee with changes, "
    f"here code {HERE}"
)


@pytest.fixture(scope="module")
def weights_by_other_code(tmp_path_factory):
    """A folder with a store, and the ids of two runs in it: trained by other code, and by that which is here."""
    folder = tmp_path_factory.mktemp("store")
    commit = {"git_commit": "c0ffee" * 7, "git_dirty": "true"}
    other = record_run(folder, "cell=simple_rnn", "epochs=1", code="another", **commit)
    return folder, other, record_run(folder, "cell=gru", "epochs=1")


@pytest.fixture
def other_and_ours(weights_by_other_code, in_empty_folder, monkeypatch):
    """Their ids, in the folder of their store."""
    monkeypatch.chdir(weights_by_other_code[0])
    return weights_by_other_code[1:]


def test_in_a_notebook_weights_in_other_code_are_warned_of_and_those_in_their_own_are_not(other_and_ours, recwarn):
    run_selection.load_run(f"run={other_and_ours[1]}")
    assert not [each for each in recwarn if "other code" in str(each.message)]
    run_selection.load_runs([f"run={','.join(other_and_ours)}"])
    (warned,) = [str(each.message) for each in recwarn if "other code" in str(each.message)]
    assert warned == f"run {other_and_ours[0]}: {OTHER_CODE}"


def test_code_that_gives_the_same_numbers_is_not_warned_of(other_and_ours, monkeypatch):
    monkeypatch.setattr(trained_run, "equivalent_codes", lambda *code: frozenset({HERE, "another"}))
    assert run_selection.load_run(f"run={other_and_ours[0]}", notify=pytest.fail).notes == []


def test_answer_says_so_beside_its_answers(other_and_ours, call):
    code, out, err = call(answer.main, f"run={other_and_ours[0]}", "5+7")
    assert (code, out.count("\n")) == (0, 1)
    assert err == f"seqadd: run {other_and_ours[0]}: {OTHER_CODE}\n"
    assert call(answer.main, f"run={other_and_ours[1]}", "5+7")[2] == ""


@pytest.mark.parametrize("several", [False, True])
def test_inspect_says_so_in_the_terminal_and_on_its_page(several, other_and_ours, call, monkeypatch, tmp_path):
    def no_picture(folder, figure, name, shows):  # they take seconds
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        return ""

    monkeypatch.setattr(report_folder.ReportFolder, "picture", no_picture)
    which = ",".join(other_and_ours) if several else other_and_ours[0]
    code, out, err = call(inspect.main, f"run={which}", "--no-record", "--out", str(tmp_path / "page"))
    assert (code, err) == (0, "")
    assert out.count(OTHER_CODE) == 1
    page = (tmp_path / "page" / report_folder.PAGE).read_text()
    assert page.count(OTHER_CODE) == 1


def test_flags_that_the_weights_were_trained_with_and_are_not_computed_with_are_told(other_and_ours, monkeypatch):
    found = run_selection.load_run(f"run={other_and_ours[1]}")
    monkeypatch.setenv("XLA_FLAGS", FAST_MATH)
    assert found.notes == ["it was trained with other flags (its tag flags), so results may differ"]


def test_two_codes_of_one_commit_with_changes_are_told_apart_below_the_table(in_empty_folder):
    for seed, (code, dirty) in enumerate([("aa11", "true"), ("bb22", "true"), ("cc33", "false")]):
        record(make_config("cell=lstm", f"seed={seed}"), {10: (0.5, 0.5)}, code=code, git_dirty=dirty)
    selection = composition.compose_selection(["cell=lstm"])
    found = learning_curves(find_runs(selection, ALL_RUNS), selection, ["acc"], [10])
    (line,) = [line for line in notes.notes(found, selection, ["acc"]) if line.startswith("commit: ")]
    assert line == ("commit: abcdef012345; abcdef012345 with changes, code aa11; abcdef012345 with changes, code bb22")


def test_weights_from_the_middle_come_from_code_that_gives_the_same_numbers(tmp_path, monkeypatch):
    def trained_by(code, **tags):
        return RunRecord("id", "FINISHED", {}, {"code": code, "data_digest": "ab", **tags})

    monkeypatch.setattr(
        recorded_weights, "equivalent_codes", lambda code=HERE: frozenset({HERE, "old"} if code == HERE else {code})
    )
    assert recorded_weights.as_trained(trained_by("old"), trained_by(HERE))
    assert not recorded_weights.as_trained(trained_by("another"), trained_by(HERE))
    assert not recorded_weights.as_trained(trained_by(HERE, flags=f"XLA_FLAGS={FAST_MATH}"), trained_by(HERE))


EAGER = """Exception encountered when calling Odd.call().

\x1b[1m{{function_node __wrapped__Reshape_device_/job:localhost/replica:0/task:0/device:CPU:0}} Input to reshape is a \
tensor with 15 values, but the requested shape has 21 [Op:Reshape] name: odd\x1b[0m

Arguments received by Odd.call():
  • x=tf.Tensor(shape=(3, 5), dtype=float32)"""
TRACED = """in user code:

    File "/somewhere/training.py", line 193, in train_batch  *
        sums = tf.linalg.matvec(measures_of(ids, taught(model, x, ids)), counts)
    File "/somewhere/models.py", line 4, in call
        return tf.reshape(x, (-1, 7))

    ValueError: Exception encountered when calling Odd.call().

    \x1b[1mDimension size must be evenly divisible by 7 but is 15 for '{{node odd_1/Reshape}} = Reshape[T=DT_FLOAT, \
Tshape=DT_INT32](x, odd_1/Reshape/shape)' with input shapes: [3,5], [2] and with input tensors computed as partial \
shapes: input[1] = [?,7].\x1b[0m

    Arguments received by Odd.call():
      • x=tf.Tensor(shape=(3, 5), dtype=float32)
"""
IN_A_GRAPH = """Graph execution error:

Detected at node Reshape defined at (most recent call last):
  File "/somewhere/training.py", line 193, in train_batch

  File "/somewhere/models.py", line 4, in call

Input to reshape is a tensor with 15 values, but the requested shape has 21
\t [[{{node odd_1/Reshape}}]] [Op:__inference_program_1234]"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            EAGER,
            "Exception encountered when calling Odd.call().; "
            "Input to reshape is a tensor with 15 values, but the requested shape has 21",
        ),
        (
            TRACED,
            "Exception encountered when calling Odd.call().; Dimension size must be evenly divisible by 7 but is 15 "
            "with input shapes: [3,5], [2] and with input tensors computed as partial shapes: input[1] = [?...",
        ),
        (
            IN_A_GRAPH,
            "Graph execution error:; Input to reshape is a tensor with 15 values, but the requested shape has 21",
        ),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 197 + "..."),
        ("bell \x07 and\ttab", "bell and tab"),
    ],
)
def test_a_failure_inside_a_model_is_one_short_line_without_colours_and_names_of_nodes(text, said):
    assert short_line(ValueError(text)) == said
    assert len(said) <= 200


def test_what_is_said_in_our_own_words_is_not_cut():
    assert short_line(ConfigError("x" * 300)) == "x" * 300


def test_a_run_whose_model_fails_says_so_in_one_line(call, monkeypatch):
    def fails(*arguments, **settings):
        raise ValueError(TRACED)

    monkeypatch.setattr(architectures, "build_model", fails)
    quick_database(Path.cwd())
    code, _, err = call(run.main, *TINY)
    assert code == 1
    assert err.startswith("seqadd: ValueError: Exception encountered when calling Odd.call().; Dimension size must be")
    assert err.endswith("...; HYDRA_FULL_ERROR=1 shows the traceback\n")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    (failed,) = runs_of(Path.cwd())
    assert failed.info.status == "FAILED"


@pytest.mark.parametrize("rate", ["1e39", "1e308", "5e-324", "1e-39"])
def test_a_learning_rate_that_is_none_in_float32_is_refused(rate):
    with pytest.raises(
        ConfigError, match=r"learning_rate=\d.*: must be in 1\.2e-38\.\.3\.4e\+38, the range of float32"
    ):
        make_config(f"learning_rate={rate}")
