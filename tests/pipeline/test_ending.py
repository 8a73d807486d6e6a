import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

SCRIPT = """
import contextlib, os, sys, time
from faceveil.pipeline.ending import end_on_signals, ended_by, exit_status, on_sudden_end, tell_end
sys.argv = ["faceveil", "run"]
end_on_signals()
on_sudden_end(lambda: os.write(1, b"freed\\n"))
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    {then}
tell_end()
sys.exit(exit_status())
"""


HANG = """
import ctypes, sys
from faceveil.pipeline import cli, supervise

def hang():
    print("on", flush=True)
    native = ctypes.PyDLL(None)
    while True:
        native.sleep(600)

cli.main = hang
sys.exit(supervise.main())
"""


def interrupted(then: str, *signals: signal.Signals) -> tuple[int, str, str]:
    """What a process that does something when it is interrupted ends with and says."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("{then}", then)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)  # of several that wait to be delivered, the first need not come first
    said, told = process.communicate(timeout=30)
    return process.returncode, said, told


GOES_ON = "; the same command resumes where this one stopped\n"


@pytest.mark.usefixtures("hangs_up")
@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")],
)
def test_a_signal_interrupts_the_main_thread(number: signal.Signals, word: str) -> None:
    assert interrupted("pass", number) == (128 + number, "", f"faceveil: {word}{GOES_ON}")


def test_what_does_not_end_by_itself_is_ended_and_what_it_holds_is_freed() -> None:
    assert interrupted("time.sleep(600)", signal.SIGTERM) == (143, "freed\n", f"faceveil: terminated{GOES_ON}")


def test_further_signals_do_not_disturb_the_end() -> None:
    several = (signal.SIGTERM, signal.SIGINT, signal.SIGINT)
    status, _, told = interrupted("time.sleep(0.5)", *several)
    assert (status, told) == (143, f"faceveil: terminated{GOES_ON}")


def test_a_command_that_hangs_for_good_is_killed_by_the_one_that_waits() -> None:
    # Native code that holds Python's global lock: no thread of that process can do anything any more.
    process = subprocess.Popen([sys.executable, "-c", HANG], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    process.stdout.close()
