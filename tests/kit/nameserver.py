"""A name server on loopback that knows what a test tells it and says NXDOMAIN to the rest."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


@contextmanager
def running_nameserver(texts: Mapping[str, str]) -> Iterator[int]:
    """Serves TXT records: name without final dot -> text of any length. Yields the UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(server, dict(texts)), daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"", server.getsockname())
            thread.join(5)


def _serve(server: socket.socket, texts: dict[str, str]) -> None:
    while True:
        data, client = server.recvfrom(4096)
        if not data:
            return
        query = dns.message.from_wire(data)
        question = query.question[0]
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        name = question.name.to_text(omit_final_dot=True).lower()
        if name not in texts:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.TXT:
            pieces = " ".join(f'"{texts[name][start : start + 250]}"' for start in range(0, len(texts[name]), 250))
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", pieces))
        server.sendto(answer.to_wire(max_size=4096), client)
