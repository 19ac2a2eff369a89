"""Memory and CPU of real processes."""

import os
import subprocess
import sys

from benchmarks.processes import cpu_seconds, families, kill, memory_mb

PROGRAM = """
import subprocess, sys
block = bytearray(b"x" * 30_000_000)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_process_and_its_child_are_seen_measured_and_ended():
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        family = families([process.pid])

        assert process.pid in [one.pid for one in families([os.getpid()])]
        assert len(family) == 2
        assert 30 < memory_mb(family) < 200
        assert cpu_seconds(family) > 0
        kill([process.pid])
    assert memory_mb(family[:1]) == 0
