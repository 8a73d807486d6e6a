import subprocess
import sys
import time

from faceveil.transforms.runtime.watchdog import Watchdog
from tests.conftest import ROOT


def test_what_is_quick_is_left_alone() -> None:
    watchdog = Watchdog(0.2)
    for number in range(1000):
        with watchdog.watching(str(number)):
            pass
    time.sleep(0.5)


def test_what_hangs_is_ended_and_named() -> None:
    code = """import time
from faceveil.transforms.runtime.watchdog import Watchdog
with Watchdog(0.2).watching("photo 60"):
    time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert ended.returncode == -6
    assert "photo 60 takes longer than --image_timeout 0.2" in ended.stderr
