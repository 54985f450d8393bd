"""`hearth doctor`: what runs here, on what, open to whom, and which settings weaken what Hearth promises."""

import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cluster.config import ClockKind, HearthConfig, environment_variable, host_is_loopback, unknown_variables
from cluster.data_dir import find_running, free_bytes, low_space_warning
from cluster.output import print_json

PACKAGES = (
    "hearth", "ray", "xgboost-cpu", "numba", "numpy", "pyarrow", "grpcio", "protobuf", "cel-expr-python", "sqlalchemy",
    "pydantic", "xxhash",
)  # fmt: skip

FOREIGN_XGBOOST = "xgboost"
"""The same import name as xgboost-cpu; both at once is never right."""

MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")

RAY_PROCESSES = (
    "raylet",
    "gcs_server",
    "ray::",
    "haproxy",
    "plasma_store",
    "dashboard",
    "ray.util",
    "_private/workers",
)
"""Marks of Ray's and Serve's processes in their command lines."""

SYNC_TRIES = 20
SLOW_SYNC_MS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPort:
    """A port that a process of ours or of Ray's listens on."""

    address: str
    port: int
    process: str
    pid: int
    loopback: bool


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
    running = find_running(config.data_dir)
    ports = open_ports(running.pid if running is not None else None)
    weak = weaknesses(config, disk=disk, ports=ports)
    if as_json:
        report: dict[str, object] = {"ok": not weak, "versions": versions(), "disk": asdict(disk)}
        print_json({**report, "ports": [asdict(port) for port in ports], "weaknesses": weak})
    else:
        _print(disk, ports, weak)
    return 1 if weak else 0


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


def open_ports(hearth_pid: int | None) -> list[OpenPort]:
    """Return what our processes and Ray's listen on, as far as this user may see it."""
    found = []
    family = _family(hearth_pid)
    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        name = _name(process, family)
        if name is None:
            continue
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN:
                host = connection.laddr.ip
                found.append(
                    OpenPort(
                        address=host,
                        port=connection.laddr.port,
                        process=name,
                        pid=process.pid,
                        loopback=host_is_loopback(host),
                    )
                )
    return sorted(set(found), key=lambda one: (one.loopback, one.port))


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
    if not config.is_loopback:
        weak.append(f"security: host {config.host} is reachable from other machines and has no TLS; use 127.0.0.1")
    if config.reflection:
        weak.append("security: reflection tells every client the whole interface; leave it off outside development")
    if sys.flags.optimize:
        weak.append("durability: python -O removes the assertions that stop a defect; run without it")
    mode = environment_variable("RAY_AUTH_MODE")
    if mode == "disabled":
        weak.append("security: RAY_AUTH_MODE=disabled lets every local user run code in Ray; unset it")
    return weak


def _weak_ports(ports: list[OpenPort]) -> list[str]:
    places: dict[str, list[str]] = {}
    for port in ports:
        if not port.loopback:
            places.setdefault(port.process, []).append(f"{port.address}:{port.port}")
    return [
        f"security: {process} listens on {', '.join(where)}, reachable from other machines; shield it with a firewall"
        for process, where in sorted(places.items())
    ]


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


def _family(pid: int | None) -> set[int]:
    if pid is None:
        return set()
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:
        return {pid}


def _name(process: psutil.Process, family: set[int]) -> str | None:
    command = " ".join(process.info["cmdline"] or [process.info["name"] or ""])
    is_rays = any(mark in command for mark in RAY_PROCESSES)
    if process.pid not in family and not is_rays:
        return None
    return str(process.info["name"] or "unknown")


def _print(disk: Disk, ports: list[OpenPort], weak: list[str]) -> None:
    for name, version in versions().items():
        print(f"{name:<18} {version}")
    sync = f"a sync takes {disk.sync_ms} ms" if disk.sync_ms is not None else "it cannot be written"
    print(f"{'data directory':<18} {disk.path} ({disk.file_system}, {disk.free_bytes / 1e9:.1f} GB free, {sync})")
    for port in ports:
        reach = "this machine only" if port.loopback else "REACHABLE FROM OUTSIDE"
        print(f"{'open port':<18} {port.address}:{port.port} {port.process} (process {port.pid}): {reach}")
    if not ports:
        print(f"{'open ports':<18} none of Hearth's or Ray's")
    for line in weak:
        print(f"WEAK  {line}")
    if not weak:
        print("nothing weakens durability or security")
