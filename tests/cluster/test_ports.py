"""Laws: a port in use is told with its number and holder; 0 gives a free one; a host that is not ours is told."""

import os
import socket

import pytest

from cluster.ports import PortUnusable, check_port


def test_a_port_in_use_is_told_with_who_has_it():
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(
            PortUnusable, match=rf"port {port} on 127.0.0.1 is in use by .*process {os.getpid()}; .*--port"
        ):
            check_port("127.0.0.1", port)


def test_zero_gives_a_free_port_and_a_free_port_is_itself():
    port = check_port("127.0.0.1", 0)
    assert port > 0
    assert check_port("127.0.0.1", port) == port


def test_a_host_that_is_not_this_machines_is_told():
    with pytest.raises(PortUnusable, match=r"192.0.2.1 is not an address of this machine"):
        check_port("192.0.2.1", 0)
