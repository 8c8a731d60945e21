"""Telling the one who started us that we are ready: systemd's sd_notify(3) protocol, which `up` speaks too."""

import os
import socket


def notify_ready() -> None:
    """Send READY=1 to NOTIFY_SOCKET. Without one nobody asked, and nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract name space
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(b"READY=1", address)
        except OSError:
            # Whoever asked is gone; that is no reason to stop working.
            return
