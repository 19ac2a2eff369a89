"""Memory and CPU of real processes."""

import os
import subprocess
import sys
import time

from benchmarks.processes import command, cpu_seconds, descendants, kill, memory

PROGRAM = """
import subprocess, sys
block = bytearray(b"x" * 30_000_000)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", flush=True)
while True: pass
"""


def test_a_process_and_its_child_are_found_measured_and_ended():
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        below = descendants(process.pid)
        time.sleep(0.3)

        assert process.pid in descendants(os.getpid())
        assert len(below) == 1
        assert "time.sleep(60)" in command(below[0])
        assert 30 < memory([process.pid]).uss <= memory([process.pid]).pss + 1 < 200
        assert cpu_seconds([process.pid]) > 0.05
    finally:
        kill([*descendants(process.pid), process.pid])
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    assert memory([process.pid]).pss == 0
