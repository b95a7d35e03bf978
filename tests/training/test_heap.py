"""What a process that trains on a CPU does with memory that it frees."""

import os
import subprocess
import sys

import pytest

from mtl_cli.training.heap import _is_glibc

pytestmark = pytest.mark.skipif(not _is_glibc(), reason="another C library keeps memory in its own way")

PROGRAM = """
import resource
from mtl_cli.training.heap import keep_freed
keep_freed()
bytearray(20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytearray(20_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 20 * 20_000_000 // os.sysconf("SC_PAGE_SIZE")


def faults(**environment: str) -> int:
    """Pages that the system gives a process that takes and frees 20 MB twenty times more."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PROGRAM]
    told = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=True)
    return int(told.stdout)


def test_what_was_freed_is_used_again_and_not_asked_for_anew() -> None:
    assert faults() < PAGES / 100


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_who_tunes_the_allocator_by_its_own_names_has_it_so(name: str) -> None:
    assert faults(**{name: "131072"}) > PAGES / 2
