"""What a process does with memory that it has freed."""

import platform
import subprocess
import sys

import pytest

_ROUNDS = """
import resource
import numpy as np
from faceveil.transforms.memory import keep_freed_memory

if {kept}:
    keep_freed_memory()
faults = []
for _ in range(6):
    arrays = [np.ones(3 << 20, np.uint8) for _ in range(10)]
    del arrays
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[0])
"""
_PAGES = 10 * (3 << 20) // 4096
"""What the arrays of a round fill."""


def _faults_after_the_first_round(kept: bool) -> int:
    done = subprocess.run([sys.executable, "-c", _ROUNDS.format(kept=kept)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told to keep memory")
def test_what_one_image_freed_the_next_one_gets_without_asking_the_system() -> None:
    assert _faults_after_the_first_round(kept=True) < _PAGES / 10
    assert _faults_after_the_first_round(kept=False) > 2 * _PAGES
