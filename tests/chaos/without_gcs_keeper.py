"""`hearth` with a run whose GCS nobody keeps going: the negative control of tests/chaos/test_cluster.py.

As the command's module it patches the supervisor to run this module; as the run, it patches the keeper.
"""

import sys

from cluster import cli, ray_node, runner, supervisor

if __name__ == "__main__":
    if len(sys.argv) > 1:
        supervisor.RUNNER_MODULE = "tests.chaos.without_gcs_keeper"
        cli.main()
    else:
        ray_node.NodeKeeper.start = lambda self: None  # type: ignore[method-assign]
        runner.main()
