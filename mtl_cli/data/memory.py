"""How much memory is free, as the operating system says."""

import os
from pathlib import Path

GIB = 1 << 30
MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
"""Where a container's own limit stands."""


def free() -> int:
    """Bytes that can be had: what Linux has available, within a container's limit; elsewhere all that there is."""
    if not MEMINFO.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = MEMINFO.read_text(encoding="ascii").splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return int(min(available, _granted()))


def _granted() -> float:
    """What a container has left of its limit."""
    limit, used = (GROUP / name for name in ("memory.max", "memory.current"))
    if not (limit.is_file() and used.is_file()) or limit.read_text(encoding="ascii").strip() == "max":
        return float("inf")
    return max(0, int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii")))
