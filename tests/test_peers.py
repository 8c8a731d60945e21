"""The ports that tests listen on."""

from pathlib import Path

from tests.peers import free_port


def test_no_port_is_given_twice_nor_can_an_outgoing_connection_take_it_meanwhile() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports) < first_outgoing
