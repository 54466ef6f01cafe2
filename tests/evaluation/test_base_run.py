"""``from=RUN_ID``: the configuration of a recorded run as the base of another one."""

import sys
from pathlib import Path

import pytest
import yaml
from conftest import make_config, quick_database
from omegaconf import OmegaConf
from test_table import record

from seqadd import run
from seqadd.errors import ConfigError
from seqadd.evaluation.base_run import with_base
from seqadd.tracking import provenance

WORDS = ["cell=gru", "encoder_units=96", "learning_rate=0.004", "seed=3"]


@pytest.fixture(scope="module", autouse=True)
def _database(tmp_path_factory):
    """Has MLflow log the creation of its tables before a test reads what a command prints."""
    quick_database(tmp_path_factory.mktemp("store"))


def test_a_run_is_the_base_of_another(call):
    run_id = record(make_config(*WORDS, "epochs=20"), {1: (0.5, 0.5)}, config_hash="ab")
    assert with_base(["-m", f"from={run_id}", "epochs=500"]) == ["-m", *WORDS, "epochs=500"]
    code, out, err = call(run.main, f"from={run_id}", "epochs=500", "--cfg", "job")
    assert (code, err) == (0, "")
    shown = yaml.safe_load(out)
    assert {key: shown[key] for key in ("cell", "encoder_units", "learning_rate", "seed", "epochs")} == {
        "cell": "gru", "encoder_units": 96, "learning_rate": 0.004, "seed": 3, "epochs": 500,
    }  # fmt: skip
    assert provenance.command_line() == f"{sys.argv[0]} {' '.join(WORDS)} epochs=500 --cfg job"


def test_a_runs_configuration_file_is_a_base_too(in_empty_folder):
    config = make_config(*WORDS)
    Path("config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config.nested_result_keys())))
    assert with_base(["from=config.yaml", "seed=7"]) == [*WORDS[:-1], "seed=7"]
    assert with_base(WORDS) == WORDS


def test_keys_of_a_task_go_with_the_task(in_empty_folder):
    config = make_config("task.digits=2", "task.n_questions=1000", "seed=1")
    Path("c.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config.nested_result_keys())))
    assert with_base(["from=c.yaml"]) == ["task.digits=2", "task.n_questions=1000", "seed=1"]
    assert with_base(["from=c.yaml", "task.digits=3"]) == ["task.n_questions=1000", "seed=1", "task.digits=3"]
    assert with_base(["from=c.yaml", "task=four_digits"]) == ["seed=1", "task=four_digits"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["from="], "from=: must be one run, or one file, for example from=latest"),
        (["from=a", "from=b"], "from=a from=b: must be one run, or one file"),
        (["from=ab,cd"], "from=ab,cd: must be one run, or one file"),
        (["from=none.yaml"], "from=none.yaml: cannot read it: "),
        (["from=list.yaml"], "from=list.yaml: has no keys; must be the config.yaml of a run"),
        (["from=torn.yaml"], "from=torn.yaml: cannot read it: "),
        (["from=strange.yaml"], "from=strange.yaml: has the parameter task.size, unknown to this version of seqadd"),
        (["from=wrong.yaml"], "from=wrong.yaml: its parameters are not valid: epochs=0: must be at least 1"),
        (["from=own.yaml"], "from=own.yaml: was trained with own parts, and cell=mgu is not declared; write --code"),
        (["from=" + "0" * 32], f"run={'0' * 32}: no such run in this store; "),
        (["from=latest", "tracking.uri=sqlite:///none.db"], "tracking.uri=sqlite:///none.db: no store here"),
    ],
)
def test_what_is_no_base_is_refused(words, said, in_empty_folder):
    for name, text in {
        "list": "[1, 2]", "torn": "{a: [", "strange": "task: {size: 1}", "wrong": "epochs: 0",
        "own": "cell: mgu\npart_code: ab",
    }.items():  # fmt: skip
        Path(f"{name}.yaml").write_text(text)
    record(make_config(), {1: (0.5, 0.5)}, config_hash="ab")
    with pytest.raises(ConfigError) as refused:
        with_base(words)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
