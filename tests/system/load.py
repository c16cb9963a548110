"""The load generator (bench/load.c): thousands of clients from a few processes."""

import json
import os
import subprocess

from cluster import REPO
from proxy import BINARY

BESIDE = os.path.join(os.path.dirname(BINARY), "bench", "load")


def load_binary():
    """Beside the binary under test, as `make system` builds it; else built now."""
    if os.path.exists(BESIDE):
        return BESIDE
    subprocess.run(["make", "-s", "build/bench/load"], cwd=REPO, check=True, timeout=300)
    return os.path.join(REPO, "build", "bench", "load")


class Load:
    """One run; `line` is what it printed."""

    def __init__(self, port, secrets_file, mode, **options):
        self.command = [load_binary(), "--mode", mode, "--port", str(port), "--secrets",
                        secrets_file]
        for name, value in options.items():
            flag = f"--{name.replace('_', '-')}"
            self.command += [flag] if value is True else [flag, str(value)]
        self.process = None
        self.line = None

    def run(self, timeout=120):
        done = subprocess.run(self.command, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{self.command}: {done.stdout}{done.stderr}"
        self.line = json.loads(done.stdout)
        return self.line

    def __enter__(self):
        """In mode idle: all are logged in, until the block ends."""
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.line = json.loads(self.process.stdout.readline() or "{}")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


def write_secrets(folder, lines):
    """lines: (password, what column 1 must be or None)."""
    path = os.path.join(str(folder), "secrets.txt")
    with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        for password, expected in lines:
            file.write(f"{password} {expected}\n" if expected is not None else f"{password}\n")
    return path
