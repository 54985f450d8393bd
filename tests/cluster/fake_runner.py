"""A run of Hearth that does what `script.json` of its data directory says: a list of steps for each run.

    ready        say that it answers
    end: N       end with exit code N; below 0 by that signal
    stop         tell the supervisor to stop, as Ctrl-C does
    serve        go on until told to stop; say so in `drained` and end with 0
    orphan       leave a process behind, its id in `orphan`
    alone        end with 9 if that process still lives

Every run adds a line to `runs`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil


def main() -> None:
    order = json.load(sys.stdin)
    folder = Path(order["settings"]["data_dir"])
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    with (folder / "runs").open("a+") as runs:
        runs.write(json.dumps({"pid": os.getpid(), "run_dir": order["run_dir"], "port": order["settings"]["port"]}))
        runs.write("\n")
        runs.seek(0)
        number = len(runs.readlines()) - 1
    for step in json.loads((folder / "script.json").read_text())[number]:
        match step:
            case "ready":
                print(json.dumps({"ready": True, "address": f"run {number}"}), flush=True)
            case "stop":
                os.kill(os.getppid(), signal.SIGTERM)
            case "serve":
                assert told.wait(20), "nobody stopped this run"
                (folder / "drained").touch()
                sys.exit(0)
            case "orphan":
                orphan = subprocess.Popen(["sleep", "600"], start_new_session=True)
                (folder / "orphan").write_text(str(orphan.pid))
            case "alone":
                if psutil.pid_exists(int((folder / "orphan").read_text())):
                    os._exit(9)
            case {"end": code} if code < 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(os.getpid(), -code)
            case {"end": code}:
                os._exit(code)


if __name__ == "__main__":
    main()
