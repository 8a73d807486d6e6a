import subprocess
import sys
import time

from faceveil.transforms.runtime.watchdog import Watchdog
from tests.conftest import ROOT


def test_what_is_quick_is_left_alone() -> None:
    watchdog = Watchdog(0.2)
    double = watchdog.watch(lambda number: number * 2, str)
    assert [double(n) for n in range(1000)] == list(range(0, 2000, 2))
    time.sleep(0.5)


def test_a_pause_does_not_count() -> None:
    watchdog = Watchdog(0.2)

    def wait(seconds: float) -> str:
        with watchdog.paused():
            time.sleep(seconds)
        return "done"

    assert watchdog.watch(wait, str)(1.0) == "done"


def test_what_hangs_is_ended_and_named() -> None:
    code = (
        "import time; from faceveil.transforms.runtime.watchdog import Watchdog; "
        "Watchdog(0.2).watch(time.sleep, 'photo {}'.format)(60)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert ended.returncode == -6
    assert "photo 60 takes longer than --image_timeout 0.2" in ended.stderr
