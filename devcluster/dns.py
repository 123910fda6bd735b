"""Asks one DNS question, to learn whether Service routing and cluster DNS work together."""

import socket
import struct

TIMEOUT = 1.0
ID = 0x4153


def answers(server: str, name: str) -> bool:
    """Whether the server returns at least one A record for ``name``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(TIMEOUT)
        try:
            connection.sendto(query(name), (server, 53))
            reply = connection.recv(512)
        except OSError:
            return False
    return has_answer(reply)


def query(name: str) -> bytes:
    """A recursive query for the A records of ``name``, in wire format (RFC 1035, section 4)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    return struct.pack("!6H", ID, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def has_answer(reply: bytes) -> bool:
    """Whether a reply to our query has no error and at least one answer."""
    if len(reply) < 12:
        return False
    identifier, flags, _, count, _, _ = struct.unpack("!6H", reply[:12])
    return bool(identifier == ID and flags & 0xF == 0 and count > 0)
