"""What every job of a sweep imports: ``jobs`` has it imported once, in the process that the jobs are forked from.

The jobs run the code as it is now, and say so: whatever is edited or committed during the sweep.
"""

import atexit
import ctypes
import os
import signal
import sys

# Without the sweep nobody needs this process, which may import for a minute yet where the machine is busy.
if sys.platform == "linux":
    _SIGNAL_WHEN_PARENT_ENDS = 1  # PR_SET_PDEATHSIG, which processes that are forked from this one do not inherit
    ctypes.CDLL(None).prctl(_SIGNAL_WHEN_PARENT_ENDS, signal.SIGKILL)

from seqadd import checkpoints, codes, run, tracking  # noqa: F401
from seqadd.quiet import quiet_import_of_tensorflow

with quiet_import_of_tensorflow():
    from seqadd import devices, figures, models, training  # noqa: F401

codes.code_version()  # remembered

# When the sweep is over this process has nothing to tidy up, and Python would take a second for TensorFlow.
atexit.register(os._exit, 0)
