"""A name server on loopback that knows what a test tells it and says NXDOMAIN to the rest."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

SILENT = -1  # instead of a response code: no answer at all

Records = Mapping[str, Mapping[str, Sequence[str]]]
"""Name without final dot -> type -> values as in a zone file."""


@contextmanager
def running_nameserver(
    texts: Mapping[str, str] | None = None, records: Records | None = None, failing: Mapping[str, int] | None = None
) -> Iterator[int]:
    """Serves TXT records of any length and `records`, a CNAME with what is behind it, as a recursive server does.

    `failing`: response codes of names, or SILENT. Yields the UDP port.
    """
    zone = {name: {"TXT": [_quoted(text)]} for name, text in (texts or {}).items()} | dict(records or {})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(server, zone, dict(failing or {})), daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"", server.getsockname())
            thread.join(5)


def _quoted(text: str) -> str:
    return " ".join(f'"{text[start : start + 250]}"' for start in range(0, len(text), 250))


def _serve(server: socket.socket, zone: Records, failing: Mapping[str, int]) -> None:
    while True:
        data, client = server.recvfrom(4096)
        if not data:
            return
        query = dns.message.from_wire(data)
        answer = _answer(query, zone, failing)
        if answer is not None:
            server.sendto(answer.to_wire(max_size=4096), client)


def _answer(query: dns.message.Message, zone: Records, failing: Mapping[str, int]) -> dns.message.Message | None:
    question = query.question[0]
    kind = dns.rdatatype.to_text(question.rdtype)
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.AA
    name = question.name.to_text(omit_final_dot=True).lower()
    if name in failing:
        answer.set_rcode(dns.rcode.Rcode(max(failing[name], 0)))
        return None if failing[name] == SILENT else answer
    while "CNAME" in zone.get(name, {}) and kind != "CNAME":
        [alias] = zone[name]["CNAME"]
        answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", alias))
        name = alias.rstrip(".").lower()
    if name not in zone:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif values := zone[name].get(kind):
        answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *values))
    return answer
