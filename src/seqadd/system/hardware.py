"""What this process may have of its machine: processors, memory, threads. Needs no library of ours or of others."""

from __future__ import annotations

import os
import platform
import re
import threading
from contextlib import suppress
from pathlib import Path

# Of a processor's flags those that say how vectors are computed: of x86, then of ARM.
_VECTORS = re.compile(r"avx\w*|fma4?|f16c|xop|amx\w*|asimd\w*|sve\w*|sme\w*|bf16|i8mm|fphp|neon|vfpv\w*")


def processors() -> int:
    """How many processors this process may use; on a shared machine that can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def instructions() -> str:
    """The processor's instruction sets that arithmetic follows from, sorted: ``avx avx2 f16c fma``.

    Compilers choose by them how sums are added up, and a name like "AMD EPYC" stands for many. Empty where the system
    does not tell.
    """
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return " ".join(sorted(filter(_VECTORS.fullmatch, set(value.split()))))
    except OSError:
        pass
    return ""


def gpu_names() -> list[str]:
    """The GPUs whose driver is loaded here; TensorFlow sees them if it has CUDA too. None where they are hidden."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return []
    names = []
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with suppress(OSError):
            lines = [line.partition(":") for line in about.read_text().splitlines()]
            names += [value.strip() for key, _, value in lines if key == "Model"]
    return names


def memory() -> int | None:
    """Bytes that a process here can have at most: the machine's, or what its control group may; None if unknown."""
    limits = []
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for group in _control_groups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # not there, or "max"
                limits.append(int((group / name).read_text()))
    return min(limits, default=None)


def limits() -> dict[str, int]:
    """Bytes that ``ulimit`` lets this process have, under the option that says so; empty where it limits nothing.

    ``-v`` is the address space, of which a program may reserve far more than it fills; ``-d`` what it can write to.
    """
    found = {}
    with suppress(ImportError):  # as on Windows, which has no such limits
        import resource

        for option, kind in (("-v", resource.RLIMIT_AS), ("-d", resource.RLIMIT_DATA)):
            there, _ = resource.getrlimit(kind)
            if there != resource.RLIM_INFINITY:
                found[option] = there
    return found


def can_have_threads(n: int) -> bool:
    """Whether this process can have so many more; ``ulimit -u`` limits them, and so do control groups."""
    enough = threading.Event()
    started = []
    try:
        for _ in range(n):
            thread = threading.Thread(target=enough.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:  # can't start new thread
        return False
    finally:
        enough.set()
        for thread in started:
            thread.join()
    return True


def _control_groups() -> list[Path]:
    """Folders of the control groups that this process is in, theirs around them included; both versions of Linux'."""
    mounted = Path("/sys/fs/cgroup")
    folders = [mounted]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                inside = mounted / controllers / path.lstrip("/")
                folders += [inside, *(each for each in inside.parents if each.is_relative_to(mounted))]
    return folders
