"""The processors, GPUs, memory and threads that this process may use. Imports only the standard library."""

from __future__ import annotations

import os
import platform
import re
import threading
from contextlib import suppress
from pathlib import Path

# The processor flags of vector instructions: x86 first, then ARM.
_VECTORS = re.compile(r"avx\w*|fma4?|f16c|xop|amx\w*|asimd\w*|sve\w*|sme\w*|bf16|i8mm|fphp|neon|vfpv\w*")


def processors() -> int:
    """The number of processors that this process may use; on a shared machine it can be less than the total."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name, or ``unknown processor`` if the system does not report it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def instructions() -> str:
    """The processor's instruction sets that affect arithmetic, sorted: ``avx avx2 f16c fma``.

    Compilers choose the order of additions by them, and one name like "AMD EPYC" covers several sets. Empty if the
    system does not report them.
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
    """The names of the GPUs whose driver is loaded; to use them TensorFlow needs CUDA too. Empty if they are hidden."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return []
    names = []
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with suppress(OSError):
            lines = [line.partition(":") for line in about.read_text().splitlines()]
            names += [value.strip() for key, _, value in lines if key == "Model"]
    return names


def memory() -> int | None:
    """The most bytes that this process can use: the least of machine and control groups; None if unknown."""
    limits = []
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for group in _control_groups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # not there, or "max"
                limits.append(int((group / name).read_text()))
    return min(limits, default=None)


def limits() -> dict[str, int]:
    """The memory limits that ``ulimit`` sets, in bytes, by option; empty if it sets none.

    ``-v`` limits the address space, of which a program may reserve far more than it fills; ``-d`` the writable part.
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
    """Whether this process can start ``n`` more threads; ``ulimit -u`` and control groups limit their number."""
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
    """The folders of this process' control groups and of their parents, for both versions of Linux' control groups."""
    mounted = Path("/sys/fs/cgroup")
    folders = [mounted]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                inside = mounted / controllers / path.lstrip("/")
                folders += [inside, *(each for each in inside.parents if each.is_relative_to(mounted))]
    return folders
