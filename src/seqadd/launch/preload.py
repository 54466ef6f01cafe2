"""What every job of a sweep imports: ``launch.processes`` has it imported once, where jobs are forked from.

The jobs run the code as it is now, and say so: whatever is edited or committed during the sweep.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys

# Without the sweep nobody needs this process, which may import for a minute yet where the machine is busy.
if sys.platform == "linux":
    _SIGNAL_WHEN_PARENT_ENDS = 1  # PR_SET_PDEATHSIG, which processes that are forked from this one do not inherit
    ctypes.CDLL(None).prctl(_SIGNAL_WHEN_PARENT_ENDS, signal.SIGKILL)

from seqadd import train  # noqa: F401 - it imports all that a run needs but TensorFlow
from seqadd.system.tensorflow_setup import quiet_import
from seqadd.tracking import provenance

with quiet_import():
    from seqadd.models import architectures  # noqa: F401
    from seqadd.reporting import figures  # noqa: F401
    from seqadd.training import loop  # noqa: F401

provenance.code_version()  # remembered

# When the sweep is over this process has nothing to tidy up, and Python would take a second for TensorFlow.
atexit.register(os._exit, 0)
