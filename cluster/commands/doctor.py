"""`hearth doctor`: what runs here, on what, open to whom, and which settings weaken what Hearth promises."""

import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.access import remembered_rules
from cluster.config import ClockKind, HearthConfig, unknown_variables, utc_now
from cluster.data_dir import find_running, free_bytes, low_space_warning, read_status
from cluster.environment import environment_variable
from cluster.expiring import expiring
from cluster.open_ports import OpenPort, Protection, open_ports
from cluster.output import print_json
from wire.addresses import host_is_loopback

PACKAGES = (
    "hearth", "ray", "xgboost-cpu", "numba", "numpy", "pyarrow", "grpcio", "protobuf", "cel-expr-python", "sqlalchemy",
    "pydantic", "xxhash",
)  # fmt: skip

FOREIGN_XGBOOST = "xgboost"
"""The same import name as xgboost-cpu; both at once is never right."""

MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")

SYNC_TRIES = 20
SLOW_SYNC_MS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Where the data directory lies."""

    path: str
    file_system: str
    free_bytes: int
    sync_ms: float | None
    """Median of writing 4 KiB and fsync; None when it could not be written."""


def doctor(config: HearthConfig, *, as_json: bool) -> int:
    """Print the findings; exit code 1 when one weakens durability or security."""
    disk = examine_disk(config.data_dir)
    ports = ports_of(config)
    weak = weaknesses(config, disk=disk, ports=ports)
    if as_json:
        report: dict[str, object] = {"ok": not weak, "versions": versions(), "disk": asdict(disk)}
        told = [asdict(port) | {"protection": port.protection.name.lower()} for port in ports]
        print_json({**report, "ray_token": ray_token(config), "ports": told, "weaknesses": weak})
    else:
        _print(config, disk, ports, weak)
    return 1 if weak else 0


def ports_of(config: HearthConfig) -> list[OpenPort]:
    """Return the open ports of the Hearth that runs on a data directory, and of any Ray on this machine."""
    running, state = find_running(config.data_dir), read_status(config.data_dir) or {}
    return open_ports(
        running.pid if running is not None else None,
        public_port=_port_of(running.address) if running is not None else None,
        metrics_port=_port_of(state.get("metrics_address") or ""),
        shard_ports=_shard_ports(state),
        public_protection=_public_protection(config),
        is_shared_ray=config.ray_address is not None,
    )


def _shard_ports(state: dict[str, Any]) -> set[int]:
    """Return where shards listen for edges, as a status has it; a Unix socket is no port."""
    addresses = [one.get("address", "") for one in (state.get("placement") or {}).get("shards", ())]
    return {port for one in addresses if (port := _port_of(one)) is not None}


def _port_of(address: str) -> int | None:
    return None if not address or address.startswith("unix:") else int(address.rpartition(":")[2])


def _public_protection(config: HearthConfig) -> Protection:
    """Return what stands between the public port and whoever reaches it, as the settings and the last start have it."""
    if config.tls is None:
        return Protection.NONE
    is_asked = config.tls_client_ca is not None or config.access is not None
    return Protection.CALLERS if is_asked or remembered_rules(config.data_dir) is not None else Protection.TLS


def versions() -> dict[str, str]:
    """Return Python's, the machine's and the packages' versions; "missing" where one is not installed."""
    found = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def examine_disk(data_dir: Path) -> Disk:
    """Return what holds the data directory, or would hold it, and how fast it syncs."""
    existing = data_dir.absolute()
    while not existing.is_dir():
        existing = existing.parent
    mount = max(
        (part for part in psutil.disk_partitions(all=True) if existing.is_relative_to(part.mountpoint)),
        key=lambda part: len(part.mountpoint),
        default=None,
    )
    return Disk(
        path=str(data_dir.absolute()),
        file_system=mount.fstype if mount is not None else "unknown",
        free_bytes=free_bytes(existing),
        sync_ms=_sync_ms(existing),
    )


def weaknesses(config: HearthConfig, *, disk: Disk, ports: list[OpenPort]) -> list[str]:
    """Return what weakens durability or security, each with what would be right."""
    return [*_weak_disk(config, disk), *_weak_settings(config), *_weak_ports(ports), *_weak_packages()]


def _weak_disk(config: HearthConfig, disk: Disk) -> list[str]:
    weak = []
    if disk.sync_ms is None:
        weak.append(
            f"durability: {disk.path} cannot be written and synced; choose a directory that can with --data-dir"
        )
    elif disk.sync_ms > SLOW_SYNC_MS:
        weak.append(
            f"latency: a sync takes {disk.sync_ms:.1f} ms, and every acknowledgement waits for one; use a faster disk"
        )
    if disk.file_system in MEMORY_FILE_SYSTEMS:
        weak.append(
            f"durability: {disk.path} lies in memory ({disk.file_system}) and is gone after a restart; use a disk"
        )
    if disk.file_system in NETWORK_FILE_SYSTEMS:
        weak.append(
            f"durability: {disk.path} lies on {disk.file_system}, whose locks and syncs may not hold; use a local disk"
        )
    warning = low_space_warning(config.data_dir, least_bytes=config.disk_free_bytes_min)
    return [*weak, f"durability: {warning}"] if warning is not None else weak


def _weak_settings(config: HearthConfig) -> list[str]:
    weak = [
        f"settings: {name} is no setting of Hearth and does nothing; is it misspelt?" for name in unknown_variables()
    ]
    if config.clock is ClockKind.STREAM:
        weak.append(
            "durability: clock stream takes the newest event for now, so one from the future makes all others late; "
            "in production leave it at wall"
        )
    if config.allow_plaintext:
        weak.append("security: allow_plaintext permits a port without TLS beyond this machine; leave it off")
    if not config.is_loopback and config.tls is None:
        weak.append(
            f"security: host {config.host} is reachable from other machines and has no TLS; "
            "set tls_certificate and tls_key"
        )
    weak += _weak_key(config)
    if config.tls is not None:
        weak += [f"security: {line}" for line in expiring(config.tls, utc_now())]
    if config.metrics_port is not None and not host_is_loopback(config.metrics_host):
        weak.append(
            f"security: metrics_host {config.metrics_host} lets other machines read the numbers; use 127.0.0.1, or let "
            "a firewall pass Prometheus alone"
        )
    if config.ray_address is not None and environment_variable("RAY_USE_TLS") != "1":
        weak.append(
            "security: RAY_USE_TLS is not 1, so what Ray's processes say to each other may be read between machines; "
            "docs/security.md tells how to set it"
        )
    if config.reflection:
        weak.append("security: reflection tells every client the whole interface; leave it off outside development")
    if sys.flags.optimize:
        weak.append("durability: python -O removes the assertions that stop a defect; run without it")
    mode = environment_variable("RAY_AUTH_MODE")
    if mode == "disabled":
        weak.append("security: RAY_AUTH_MODE=disabled lets every local user run code in Ray; unset it")
    return weak


def _weak_key(config: HearthConfig) -> list[str]:
    """Return whether others than its owner may read the key of the public port."""
    key = config.tls_key
    if key is None or not key.is_file() or not key.stat().st_mode & 0o044:
        return []
    return [f"security: other users may read the key {key}; chmod 600 it"]


def _weak_ports(ports: list[OpenPort]) -> list[str]:
    places: dict[str, list[str]] = {}
    for port in ports:
        if port.is_weak:
            places.setdefault(port.process, []).append(f"{port.address}:{port.port}")
    weak = [
        f"security: {process} listens on {', '.join(where)}, reachable from other machines, and asks no token of them; "
        "shield it with a firewall"
        for process, where in sorted(places.items())
    ]
    unexplained = [
        f"security: {one.process} (process {one.pid}) listens on {one.address}:{one.port}, and nobody knows what for; "
        "find out who has started it"
        for one in ports
        if one.is_unexplained
    ]
    return [*weak, *unexplained]


def _weak_packages() -> list[str]:
    try:
        version = importlib.metadata.version(FOREIGN_XGBOOST)
    except importlib.metadata.PackageNotFoundError:
        return []
    return [f"packages: xgboost {version} is installed beside xgboost-cpu and one hides the other; uninstall xgboost"]


def _sync_ms(folder: Path) -> float | None:
    took = []
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            for _ in range(SYNC_TRIES):
                started_s = time.perf_counter()
                stream.write(b"\0" * 4096)
                stream.flush()
                os.fsync(stream.fileno())
                took.append((time.perf_counter() - started_s) * 1e3)
    except OSError:
        return None
    return round(sorted(took)[len(took) // 2], 3)


def ray_token(config: HearthConfig) -> str:
    """Return how Ray's processes know each other: token authentication, unless somebody has said otherwise."""
    mode = environment_variable("RAY_AUTH_MODE")
    if mode not in (None, "token"):
        return f"off: RAY_AUTH_MODE is {mode}"
    if config.ray_address is not None:
        return "as the cluster at ray_address has it"
    return "on: a fresh one for each run, which only its own processes have"


def _print(config: HearthConfig, disk: Disk, ports: list[OpenPort], weak: list[str]) -> None:
    for name, version in versions().items():
        print(f"{name:<18} {version}")
    sync = f"a sync takes {disk.sync_ms} ms" if disk.sync_ms is not None else "it cannot be written"
    print(f"{'data directory':<18} {disk.path} ({disk.file_system}, {disk.free_bytes / 1e9:.1f} GB free, {sync})")
    print(f"{'Ray token':<18} {ray_token(config)}")
    for port in ports:
        reach = "this machine only" if port.loopback else "reachable from other machines"
        whose = "" if port.is_ours else ", not of this Hearth"
        print(
            f"{'open port':<18} {port.address}:{port.port} {port.process} (process {port.pid}{whose}): {reach}, "
            f"{port.protection.value}{f'; {port.purpose}' if port.purpose else ''}"
        )
    if not ports:
        print(f"{'open ports':<18} none of Hearth's or Ray's")
    for line in weak:
        print(f"WEAK  {line}")
    if not weak:
        print("nothing weakens durability or security")
