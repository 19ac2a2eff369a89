"""Start workloads without their imports' seconds: a process with the libraries loaded forks them.

    python preload.py SOCKET WORKLOADS

Imports torch, transformers, peft and MLflow once, then waits on SOCKET. Each connection is one
program, asked for by a line of JSON: ``{"log": ..., "cwd": ..., "env": {...}, "argv": [python,
script, ...]}``. The fork that answers it is that program's leash (see ``leash.py``), with the
connection in the place of its pipes: orders come in on it, the pid goes out, and at the end a line
with the exit code. The program is a process like any other: own pid, own group, own exit code.
"""

import gc
import importlib.util
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import NoReturn

LIBRARIES = (
    "torch",
    "transformers.models.phi3.modeling_phi3",
    "transformers.models.llama.modeling_llama",
    "transformers.generation",
    "peft",
    "tokenizers",
    "jinja2.sandbox",
    "yaml",
    "transformers.models.auto.modeling_auto",
    "transformers.optimization",
    "mlflow.pyfunc",
)


def leash_module() -> ModuleType:
    """The leash, from the file beside this one; nothing else of that folder can be imported."""
    spec = importlib.util.spec_from_file_location("leash", Path(__file__).with_name("leash.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)  # byte by byte: what follows the line are orders
        if not byte:
            break
        line += byte
    return line


def run_script(argv: list[str]) -> NoReturn:
    """Run a script as ``python script ...`` would, in this process, and end it."""
    sys.argv = argv[1:]
    sys.path.insert(0, str(Path(argv[1]).parent))
    code = 0
    try:
        runpy.run_path(argv[1], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # what the interpreter would print at the end of a script
        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(code)


def serve_one(connection: socket.socket, leash: ModuleType) -> NoReturn:
    """In the fork: start the program that the line asks for, and hold its leash."""
    asked = json.loads(read_line(connection))
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    for descriptor in (0, 1):
        os.dup2(connection.fileno(), descriptor)
    connection.close()

    def become(argv: list[str], log: int, report: int) -> None:
        os.setsid()
        leash.die_with_parent()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(report)
        run_script(argv)

    vars(leash)["become"] = become
    code = leash.main([asked["log"], *asked["argv"]])
    os.write(1, f"{code}\n".encode())
    os._exit(0)


def main(path: str) -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    leash = leash_module()
    gc.collect()
    gc.freeze()  # forks share what is there: the collector need not touch it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are nobody's to wait for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + ".part")
        listener.listen(64)
        os.replace(path + ".part", path)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                serve_one(connection, leash)
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
