"""Memory that this process keeps once it has freed it.

What glibc gives back after every step it has to ask for again in the next, a page at a time, and the system clears
every page: up to a quarter of a step on a CPU (docs/benchmarks.md).
"""

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""mallopt's names: how much at the heap's end may be free, and from which size on a block is the system's own."""
LARGEST = 2**31 - 1
LARGEST_IN_HEAP = 32 * 2**20
"""The most that glibc takes for each."""
ASKED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
"""Who sets one of them has chosen otherwise."""


def keep_freed() -> None:
    """Blocks of up to 32 MiB come from the heap, and up to 2 GiB at its end stay; under another libc nothing changes.

    Source: GNU C library, mallopt(3)
    """
    if any(name in os.environ for name in ASKED) or not _is_glibc():
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, LARGEST_IN_HEAP)
    libc.mallopt(TRIM_THRESHOLD, LARGEST)


def _is_glibc() -> bool:
    name = "CS_GNU_LIBC_VERSION"
    return name in os.confstr_names and (os.confstr(name) or "").startswith("glibc")
