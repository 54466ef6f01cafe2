"""The imports of every job of a sweep. ``launch.processes`` imports them once, in the process that forks the jobs.

The jobs run, and record, the code as it is at this import, whatever is edited or committed during the sweep.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys

# The kernel kills this process when the sweep ends: on a busy machine its imports could run for another minute.
if sys.platform == "linux":
    _SIGNAL_WHEN_PARENT_ENDS = 1  # PR_SET_PDEATHSIG; processes that are forked from this one do not inherit it
    ctypes.CDLL(None).prctl(_SIGNAL_WHEN_PARENT_ENDS, signal.SIGKILL)

from seqadd import train  # noqa: F401 - it imports all that a run needs but TensorFlow
from seqadd.system.tensorflow_setup import quiet_import
from seqadd.tracking import connection, provenance

with quiet_import():
    from seqadd.models import architectures  # noqa: F401
    from seqadd.reporting import curves  # noqa: F401
    from seqadd.training import loop  # noqa: F401

connection.import_database_store()
provenance.uncommitted_changes()  # cached with the version, so that jobs record the code that they run

# When the sweep is over this process has nothing to clean up, and Python would spend a second on TensorFlow.
atexit.register(os._exit, 0)
