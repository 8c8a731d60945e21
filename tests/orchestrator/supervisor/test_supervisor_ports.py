"""A port that cannot be had is one clear line that names port, setting and holder."""

import os
import socket
from collections.abc import Iterator

import pytest

from orchestrator.supervisor.ports import Port, PortUnusable, check_ports, spare_ports
from tests.peers import free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_free_ports_pass_and_stay_free() -> None:
    ports = [Port("web", "127.0.0.1", free_port(), "FIDUCIAL_HTTP"), Port("HL7", "::1", free_port(), "FIDUCIAL_HL7")]
    check_ports(ports)
    check_ports(ports)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_taken_port_is_named_with_its_setting_and_its_holder(taken: int, host: str) -> None:
    with pytest.raises(PortUnusable) as caught:
        check_ports([Port("DICOM", host, taken, "FIDUCIAL_DICOM")])
    line = str(caught.value)
    assert line.startswith(f"Port {taken} (DICOM, FIDUCIAL_DICOM_PORT) is in use by ")
    assert f"(pid {os.getpid()})" in line
    assert "\n" not in line


def test_a_port_that_a_connection_left_in_time_wait_is_free() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the server's side closes first and so keeps the port in TIME_WAIT
            assert client.recv(1) == b""
    check_ports([Port("web", "127.0.0.1", port, "FIDUCIAL_HTTP")])


def test_two_settings_may_not_share_a_port() -> None:
    number = free_port()
    with pytest.raises(PortUnusable, match=f"FIDUCIAL_HTTP_PORT and FIDUCIAL_HL7_PORT are both {number}"):
        check_ports([Port("web", "127.0.0.1", number, "FIDUCIAL_HTTP"), Port("HL7", "::1", number, "FIDUCIAL_HL7")])


def test_an_address_of_another_machine_is_refused() -> None:
    # 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    with pytest.raises(PortUnusable, match=r"192\.0\.2\.1 is not an address of this machine, see FIDUCIAL_HTTP_HOST"):
        check_ports([Port("web", "192.0.2.1", free_port(), "FIDUCIAL_HTTP")])


def test_a_host_that_is_no_address_is_refused() -> None:
    with pytest.raises(PortUnusable, match=r"FIDUCIAL_HTTP_HOST=no host is not an address"):
        check_ports([Port("web", "no host", free_port(), "FIDUCIAL_HTTP")])


def test_a_spare_port_is_the_preferred_one_or_another(taken: int) -> None:
    preferred = free_port()
    assert spare_ports(preferred, 1) == preferred
    assert spare_ports(taken, 1) not in (0, taken)


def test_of_spare_ports_in_a_row_none_is_taken(taken: int) -> None:
    first = spare_ports(taken - 1, 3)
    assert taken not in range(first, first + 3)
