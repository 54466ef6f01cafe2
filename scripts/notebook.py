"""Executes docs/learn.ipynb in a fresh kernel and an empty folder, and writes it with its outputs: ``make notebook``.

    .venv-docs/bin/python scripts/notebook.py [--to FILE] [--python .venv/bin/python]

Jupyter's tools are in the documentation's environment. The kernel is the program's Python, with that environment behind
its own. What differs from machine to machine, or each time, is taken out: times, versions, IDs of runs. The exit code
is 1, and nothing is written, if a cell fails, or prints a path or a name of this machine.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import json
import os
import re
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[1]
NOTEBOOK = CLONE / "docs" / "learn.ipynb"

# The kernel's program. ipykernel's own launcher would not find ipykernel.
_KERNEL = "import sys; sys.path += {folders}; from ipykernel.kernelapp import launch_new_instance as main; main()"
# What a person may have set would change what the notebook does, or where it records.
_UNSET = re.compile(r"(MLFLOW|SEQADD|HYDRA|IPYTHON|JUPYTER)")
# Not: an address, the end of an HTML tag, 12/200.
_PATH = re.compile(r"(?<![\w.:/<#])/[\w.-]+/[\w.-]+|:////|\b[A-Z]:\\")
_RUN_ID = re.compile(r"\b[0-9a-f]{32}\b")

Notebook = dict[str, Any]


def code_of(notebook: Notebook) -> list[str]:
    """Returns the source of each cell with code."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def digest(notebook: Notebook) -> str:
    """Returns the digest of all code, which the notebook has from its last execution: outputs belong to their code."""
    return hashlib.sha256(json.dumps(code_of(notebook)).encode()).hexdigest()[:16]


def texts_of(notebook: Notebook) -> Iterator[str]:
    """Yields every text in the outputs."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            yield from ("".join(output.get(key, "")) for key in ("text", "evalue"))
            yield from ("".join(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def problems(notebook: Notebook, names: Sequence[str] = ()) -> list[str]:
    """Returns what a notebook must not show, a line each.

    Args:
        notebook: executed.
        names: of this machine, which must not be in its outputs.
    """
    found = []
    for number, cell in enumerate(notebook["cells"], start=1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                found.append(f"cell {number} failed: {output['ename']}: {output['evalue']}")
            if output.get("name") == "stderr":
                found.append(f"cell {number} printed to standard error: {''.join(output['text']).strip()}")
    for text in texts_of(notebook):
        lines = text.splitlines()
        found += [f"a path of this machine: {line.strip()}" for line in lines if _PATH.search(line)]
        found += [
            f"a name of this machine: {line.strip()}"
            for line in lines
            for name in names
            if re.search(rf"\b{re.escape(name.strip('/'))}\b", line)
        ]
    return found


def clean(notebook: Notebook) -> Notebook:
    """Takes out what differs from machine to machine, or each time; changes and returns the notebook."""
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "seqadd": {"executed": digest(notebook)},
    }
    ids: dict[str, str] = {}

    def same_each_time(match: re.Match[str]) -> str:
        return ids.setdefault(match[0], hashlib.sha256(str(len(ids)).encode()).hexdigest()[:32])

    for cell in notebook["cells"]:
        cell["metadata"] = {}
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            values = {**output.get("data", {}), **({"text": output["text"]} if "text" in output else {})}
            for kind, value in values.items():
                if kind.startswith("text"):
                    where = output if kind == "text" else output["data"]
                    where[kind] = _RUN_ID.sub(same_each_time, "".join(value))
    return notebook


def make_kernel(python: Path, folder: Path) -> None:
    """Makes ``python3`` the name of a kernel, for this process: a Python that need not have Jupyter's tools.

    Args:
        python: the kernel's Python.
        folder: where Jupyter and IPython have their files; what the user has set for them is not read.
    """
    kernel = folder / "kernels" / "python3"
    kernel.mkdir(parents=True)
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    program = [str(python), "-c", _KERNEL.format(folders=folders), "--log-level=ERROR", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": program, "display_name": "Python 3", "language": "python"}))
    for name in [name for name in os.environ if _UNSET.match(name)]:
        del os.environ[name]
    os.environ |= {
        "JUPYTER_PATH": str(folder),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as Jupyter sets it
    }


def execute(notebook: Notebook, folder: Path) -> Notebook:
    """Executes a notebook in a fresh kernel, to its end or to a cell that fails; its cells record in ``folder``."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    cells = nbformat.reads(json.dumps(notebook), as_version=4)
    client = NotebookClient(
        cells,
        timeout=None,  # a machine may be busy
        startup_timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        on_cell_start=lambda cell, cell_index: print(f"cell {cell_index + 1} of {len(cells.cells)}", flush=True),
    )
    with suppress(CellExecutionError):  # the cell's output has the error
        client.execute()
    return json.loads(nbformat.writes(cells))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--to", type=Path, default=NOTEBOOK, help="the file to write (default: the notebook itself)")
    parser.add_argument("--python", type=Path, default=CLONE / ".venv" / "bin" / "python", help="the kernel's Python")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as jupyter:
        make_kernel(options.python, Path(jupyter))
        executed = clean(execute(json.loads(NOTEBOOK.read_text(encoding="utf-8")), Path(folder)))
        here = [folder, CLONE, options.python.parent, Path.home(), socket.gethostname(), getpass.getuser()]
    lines = problems(executed, [name for name in map(str, here) if len(name) > 3])
    if lines:
        print("\n".join(lines), file=sys.stderr)
        return 1
    options.to.write_text(json.dumps(executed, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {options.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
