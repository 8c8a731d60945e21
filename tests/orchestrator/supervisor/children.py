"""A program to be supervised: `python children.py NAME DIARY [trait…]`.

Writes `NAME started PID` and `NAME stopped` into the diary. Traits: `notify` (say READY=1), `stubborn` (no end on
SIGTERM), `parent` (with a stubborn child of its own, diary name NAME-child), `brief` (ends at once with status 3).
"""

import os
import signal
import socket
import sys
import time
from types import FrameType


def note(diary: str, text: str) -> None:
    # One write with O_APPEND: whole lines from several processes.
    descriptor = os.open(diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def main(name: str, diary: str, traits: list[str]) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        note(diary, f"{name} stopped")
        sys.exit(0)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in traits else stop)
    if "parent" in traits and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(diary, f"{name}-child started {os.getpid()}")
        while True:
            time.sleep(1000)
    note(diary, f"{name} started {os.getpid()}")
    print(f"{name} works", flush=True)
    if "notify" in traits:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"READY=1", f"\0{os.environ['NOTIFY_SOCKET'][1:]}")
    if "brief" in traits:
        print("the disk is on fire", flush=True)
        sys.exit(3)
    while True:
        time.sleep(1000)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
