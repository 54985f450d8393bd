"""A real `hearth up` for the end-to-end tests: started, asked, and stopped by process id."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

READY_WITHIN_S = 120
STOPPED_WITHIN_S = 60


@dataclass
class Hearth:
    """A Hearth that answers at `address`."""

    process: subprocess.Popen[str]
    address: str
    data_dir: Path
    children: list[psutil.Process]
    """Every process that it had started when it was ready."""

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Tell it to stop; return its exit code once it is gone."""
        self.children = [*self.children, *psutil.Process(self.process.pid).children(recursive=True)]
        os.kill(self.process.pid, how)
        return self.process.wait(STOPPED_WITHIN_S)

    def left_behind(self) -> list[str]:
        """Return what of its processes still runs, after a moment for the kernel to reap them."""
        _, alive = psutil.wait_procs(set(self.children), timeout=10)
        return [" ".join(one.cmdline()[:3]) for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def command(
    *arguments: str, folder: Path | None = None, timeout_s: float = 180, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a `hearth` command to its end, in a folder or here."""
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
    )


@contextmanager
def running(
    data_dir: Path, *options: str, module: str = "cluster.cli", ready_within_s: float = READY_WITHIN_S
) -> Iterator[Hearth]:
    """Start `hearth up` on a data directory and a free port; stop it at the end if the test has not."""
    arguments = ["up", "--json", "--data-dir", str(data_dir), "--port", "0", *options]
    with (data_dir.parent / f"{data_dir.name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, stderr=log, text=True
        )
    alarm = threading.Timer(ready_within_s, process.kill)
    alarm.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        alarm.cancel()
        said = (data_dir.parent / f"{data_dir.name}.log").read_text()
        assert line, f"Hearth did not come up: {said}"
        children = psutil.Process(process.pid).children(recursive=True)
        yield Hearth(process, json.loads(line)["address"], data_dir, children)
    finally:
        alarm.cancel()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()
