"""The port by which Serve's own processes call a replica: on its node's address, where Serve would take all there are.

Leans on a private part of Serve, its replica module: one that has no such part any more lets no replica come up.
"""

from __future__ import annotations

import sys
from typing import Any, Final

SERVES_REPLICA: Final = "ray.serve._private.replica"
OPENS: Final = "add_port_to_grpc_server"
"""What that module calls, with a server and [::]:0, once the replica has been made."""


def confine_replica_port() -> None:
    """Let the port of the replica that is being made in this process be on its node's address alone.

    Whoever calls it does so at that address. Beyond a replica's process nothing is done.
    """
    module = sys.modules.get(SERVES_REPLICA)
    if module is None:
        return
    import ray

    host = ray.util.get_node_ip_address()
    on_host = f"[{host}]" if ":" in host else host
    open_port = getattr(module, OPENS)

    def open_confined(server: Any, address: str) -> int:
        port: int = open_port(server, f"{on_host}:{address.rpartition(':')[2]}")
        return port

    setattr(module, OPENS, open_confined)
