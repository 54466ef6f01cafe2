"""The notebook for learners: what is committed of it, and that it runs with a clean kernel and Jupyter's matplotlib."""

import ast
import base64
import copy
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import seqadd

CLONE = Path(__file__).parents[1]
TOOL = runpy.run_path(str(CLONE / "scripts" / "notebook.py"))
NOTEBOOK = json.loads((CLONE / "docs" / "learn.ipynb").read_text())
#: Jupyter's tools, which the program's own environment does not have.
DOCS_PYTHON = CLONE / ".venv-docs" / "bin" / "python"


def kinds_of_outputs(notebook: dict) -> list[list[str]]:
    """For each cell with code the kinds of its outputs: ``stdout``, ``image/png``, ``text/html``."""
    return [
        [output.get("name") or next(iter(sorted(output["data"]))) for output in cell["outputs"]]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def pictures_of(notebook: dict) -> list[bytes]:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return [
        base64.b64decode("".join(output["data"]["image/png"]))
        for output in outputs
        if "image/png" in output.get("data", {})
    ]


def test_the_committed_outputs_are_of_one_execution_of_the_committed_code():
    executed = NOTEBOOK["metadata"].get("seqadd", {}).get("executed")
    assert executed == TOOL["digest"](NOTEBOOK), "its code is not what was executed last: make notebook"
    counts = [cell["execution_count"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_the_committed_notebook_has_pictures_and_tables_and_no_failure_and_nothing_of_a_machine():
    assert TOOL["problems"](NOTEBOOK) == []
    pictures = pictures_of(NOTEBOOK)
    assert len(pictures) >= 6
    assert all(picture.startswith(b"\x89PNG") and len(picture) > 5_000 for picture in pictures)
    assert sum("text/html" in kinds for kinds in kinds_of_outputs(NOTEBOOK)) >= 5
    assert set(NOTEBOOK["metadata"]) == {"kernelspec", "language_info", "seqadd"}
    assert not any(cell["metadata"] for cell in NOTEBOOK["cells"])
    assert (CLONE / "docs" / "learn.ipynb").stat().st_size < 1_500_000


def test_the_notebook_uses_public_names():
    for code in TOOL["code_of"](NOTEBOOK):
        tree = ast.parse("\n".join(line for line in code.splitlines() if not line.startswith("%%")))
        of_seqadd = [
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "seqadd"
        ]
        assert set(of_seqadd) <= set(seqadd.__all__)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"output_type": "error", "ename": "KeyError", "evalue": "'x'"}, "cell 1 failed: KeyError: 'x'"),
        ({"output_type": "stream", "name": "stderr", "text": ["late\n"]}, "cell 1 printed to standard error: late"),
        (
            {"output_type": "stream", "name": "stdout", "text": ["in /home/ann/x\n"]},
            "a path of this machine: in /home/",
        ),
        ({"output_type": "display_data", "data": {"text/html": ["<p>'C:\\x'"]}}, "a path of this machine: <p>'C:"),
        ({"output_type": "stream", "name": "stdout", "text": "on box7."}, "a name of this machine: on box7."),
        ({"output_type": "stream", "name": "stdout", "text": "http://127.0.0.1:5000/#/home, on box77"}, None),
    ],
)
def test_what_a_notebook_must_not_show_is_named(output, said):
    found = TOOL["problems"]({"cells": [{"outputs": [output]}]}, ["box7"])
    assert [line[: len(said or "")] for line in found] == ([] if said is None else [said])


def test_what_differs_each_time_is_taken_out():
    run, other = "ab" * 16, "cd" * 16
    cells = [
        {
            "cell_type": "code",
            "source": ["x"],
            "metadata": {"execution": {"iopub.execute_input": "2020-01-01T00:00:00Z"}},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": f"run {each}, {run}"}],
        }
        for each in (run, other)
    ]
    notebook = {"cells": cells, "metadata": {"language_info": {"name": "python", "version": "3.12.1"}}}
    changed = json.loads(json.dumps(notebook).replace("ab" * 16, "ef" * 16).replace("3.12.1", "3.11.0"))
    cleaned = TOOL["clean"](copy.deepcopy(notebook))
    assert cleaned == TOOL["clean"](changed)
    first, second = (cell["outputs"][0]["text"].split() for cell in cleaned["cells"])
    assert first[1].strip(",") == first[2] == second[2] != second[1].strip(",")
    assert run not in json.dumps(cleaned)


def in_docs_environment(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    assert DOCS_PYTHON.exists(), "make faults makes .venv-docs; or: make .venv-docs/ready"
    environment = {**os.environ, "PYTHONPATH": str(CLONE / "src"), "MLFLOW_TRACKING_URI": "sqlite:////not/there.db"}
    return subprocess.run([DOCS_PYTHON, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.long
def test_the_notebook_runs_with_a_clean_kernel_and_jupyters_matplotlib_backend(tmp_path):
    file = tmp_path / "learn.ipynb"
    script = str(CLONE / "scripts" / "notebook.py")
    done = in_docs_environment(script, "--to", str(file), "--python", sys.executable, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    executed = json.loads(file.read_text())
    assert TOOL["problems"](executed) == []
    assert kinds_of_outputs(executed) == kinds_of_outputs(NOTEBOOK)
    assert len(pictures_of(executed)) == len(pictures_of(NOTEBOOK))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.long
def test_in_a_notebook_an_error_is_one_line_and_an_interrupt_stops_the_training_but_not_the_kernel(tmp_path):
    program = str(CLONE / "tests" / "notebook_stop.py")
    done = in_docs_environment(program, sys.executable, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused, stopped, resumed, alive = json.loads(done.stdout)
    assert refused == ["ConfigError: cell=gr: must be one of dense, gru, lstm, simple_rnn"]
    assert stopped[-1] == "stopped by SIGINT"
    assert any("stopped after epoch" in line and "; the same command resumes" in line for line in stopped)
    assert any("resuming after epoch" in line for line in resumed)
    assert resumed[-1] == "stopped by SIGINT"
    assert alive == ["42"]
