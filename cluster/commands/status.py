"""`hearth status`: does a Hearth run on this data directory, and how is it."""

from dataclasses import asdict

import grpc

from cluster.client import NotRunning, connect, health_of
from cluster.config import HearthConfig
from cluster.data_dir import find_running, free_bytes, is_held
from cluster.output import print_json


def status(config: HearthConfig, *, target: str | None, as_json: bool) -> int:
    """Print what is known; exit code 0 when it is ready, 1 otherwise."""
    running = find_running(config.data_dir)
    address = target or (running.address if running is not None else None)
    health = _health(address) if address is not None else "not running"
    if address is None and is_held(config.data_dir):
        health = "starting"
    report: dict[str, object] = {
        "health": health,
        "address": address,
        "data_dir": str(config.data_dir.absolute()),
        "running": asdict(running) if running is not None else None,
        "disk_free_bytes": free_bytes(config.data_dir),
    }
    if as_json:
        print_json(report)
    else:
        _print(report, health=health, address=address)
    return 0 if health == "ready" else 1


def _health(address: str) -> str:
    try:
        with connect(address) as channel:
            return health_of(channel)
    except (NotRunning, grpc.RpcError):
        return "does not answer"


def _print(report: dict[str, object], *, health: str, address: str | None) -> None:
    running = report["running"]
    print(f"Hearth on {report['data_dir']}: {health}")
    if address is not None:
        print(f"  address {address}")
    if isinstance(running, dict):
        print(f"  process {running['pid']}, since {running['started']}")
    free = report["disk_free_bytes"]
    assert isinstance(free, int)
    print(f"  {free / 1e9:.1f} GB free on disk")
    if health == "not running":
        print("  start it with `hearth up`")
