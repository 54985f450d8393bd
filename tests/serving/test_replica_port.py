"""Laws: Serve opens a replica's own port on the node's address alone; a Serve that has changed is not passed over."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from serving.replica_port import OPENS, SERVES_REPLICA, confine_replica_port


@pytest.mark.parametrize(("node", "opened"), [("10.0.0.7", "10.0.0.7:0"), ("fd00::2", "[fd00::2]:0")])
def test_the_port_is_on_the_nodes_address(monkeypatch: pytest.MonkeyPatch, node: str, opened: str):
    asked: list[str] = []

    def open_port(server: Any, address: str) -> int:
        asked.append(address)
        return 7

    module = SimpleNamespace(**{OPENS: open_port})
    monkeypatch.setitem(sys.modules, SERVES_REPLICA, module)  # type: ignore[arg-type]
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: node)
    confine_replica_port()

    assert getattr(module, OPENS)(None, "[::]:0") == 7
    assert asked == [opened]


def test_where_serve_has_changed_no_replica_comes_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, SERVES_REPLICA, SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match=OPENS):
        confine_replica_port()
