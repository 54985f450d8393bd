"""How long a start of Ray itself takes here and now: the yardstick of every promise about coming back.

Seconds are a machine's and what else runs on it; ratios to this travel.
"""

import shutil
import subprocess
import sys
import tempfile

BARE_RAY = """
import os, sys, time
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="ab" * 32, RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
began_s = time.monotonic()
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
         _temp_dir=sys.argv[1])
@ray.remote(num_cpus=0)
class One:
    def answer(self): return 1
one = One.remote()
ray.get(one.answer.remote())
actor_s = time.monotonic() - began_s
from ray import serve
serve.start(proxy_location="Disabled")
print(actor_s, time.monotonic() - began_s, flush=True)
ray.shutdown()
"""


def bare_ray() -> tuple[float, float]:
    """Return the seconds to an actor's first answer and to a started Serve."""
    folder = tempfile.mkdtemp(prefix="bare-")
    try:
        ended = subprocess.run(
            [sys.executable, "-c", BARE_RAY, folder], capture_output=True, text=True, timeout=300, check=True
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    actor_s, serve_s = map(float, ended.stdout.split()[-2:])
    return actor_s, serve_s
