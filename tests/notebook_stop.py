"""Executes cells in a notebook's kernel, and interrupts it when a training shows progress; prints each cell's lines.

It runs in the documentation's environment; its argument is the kernel's Python.
"""

import json
import runpy
import sys
import tempfile
from pathlib import Path

from jupyter_client.manager import KernelManager, start_new_kernel

TOOL = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "notebook.py"))
TRAIN = (
    "seqadd.experiment(cell='dense', epochs=100_000, batch_size=20, encoder_units=4,"
    " task={'digits': 1, 'n_questions': 55})"
)
CELLS = ["import seqadd; seqadd.experiment(cell='gr')", TRAIN, TRAIN, "print(6 * 7)"]


class Heard:
    """What the kernel says of a cell; interrupts it once, when a bar shows that an epoch is over."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.bars: list[str] = []
        self.lines: list[str] = []
        self.interrupted = False

    def __call__(self, message: dict) -> None:
        content, kind = message["content"], message["msg_type"]
        if kind == "stream":
            self.lines += content["text"].splitlines()
        elif kind == "error":
            self.lines += content["traceback"]
        elif kind in ("display_data", "update_display_data"):
            self.bars = content["data"]["text/plain"].splitlines()
            if not self.interrupted and any("val_acc" in line for line in self.bars):
                self.interrupted = True
                self.manager.interrupt_kernel()


def main() -> None:
    with tempfile.TemporaryDirectory() as jupyter:
        TOOL["make_kernel"](Path(sys.argv[1]), Path(jupyter))
        manager, client = start_new_kernel(startup_timeout=600, kernel_name="python3", cwd=".")
        said = []
        for cell in CELLS:
            heard = Heard(manager)
            client.execute_interactive(cell, timeout=600, output_hook=heard)
            said.append([*heard.bars, *heard.lines])
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
