"""What every job of a sweep imports: ``jobs`` has it imported once, in the process that the jobs are forked from."""

import signal

from seqadd import tracking  # noqa: F401
from seqadd.quiet import quiet_import_of_tensorflow

with quiet_import_of_tensorflow():
    from seqadd import figures, models, training  # noqa: F401

# The sweep ends this process. It must not die of a signal to the whole group before it has told how its jobs ended.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
