"""Trace fields: what we put in front of a message, and what arriving ones we take away.

Invariants: whatever a client said in HELO comes out as one token of printable ASCII; a field that only we may write is
never passed on as it arrived.

RFC 5321 §4.4 (Return-Path, Received), RFC 3848 and RFC 6531 §4.3 (`with`), RFC 8601 §5 (Authentication-Results).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from govmail.mail import compose
from govmail.mail.address import Path
from govmail.mail.envelope import Envelope, Origin
from govmail.mail.header import iterate, unfold

OWN_PREFIX = b"x-govmail-"  # our verdicts; nobody else writes them
_HELO = re.compile(r"[^A-Za-z0-9.:_\[\]-]+")
_HOST = re.compile(r"[^A-Za-z0-9.:_-]+")
_TLS = re.compile(r"[^A-Za-z0-9._ =/-]+")
_PROTOCOL = re.compile(r"[A-Z0-9]{1,20}\Z")
_AUTHSERV_ID = re.compile(rb"(?:[ \t\r\n]|\((?:[^()\\]|\\.)*+\))*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s;()]++))")


def received(origin: Origin, envelope: Envelope, *, hostname: str, queue_id: str, now: datetime) -> bytes:
    """Our Received field, folded, with CR LF.

    `for` appears only when there is one recipient: a copy must not name the others (RFC 5321 §7.2).
    """
    helo = _HELO.sub("?", origin.helo)[:255] or "unknown"
    reverse = _HOST.sub("?", origin.reverse_name or "")[:255]
    ip = _HOST.sub("?", origin.client_ip)
    literal = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"  # RFC 5321 §4.1.3
    protocol = origin.protocol if _PROTOCOL.match(origin.protocol) else "ESMTP"
    words = [f"from {helo} ({reverse + ' ' if reverse else ''}{literal})"]
    if origin.tls:
        words.append(f"(using {_TLS.sub('?', origin.tls)[:100]})")
    words.append(f"by {hostname} with {protocol} id {queue_id}")
    if len(envelope.recipients) == 1:
        address = str(envelope.recipients[0].address)
        if address.isascii():
            words.append(f"for <{address}>")
    return compose.fold("Received", f"{' '.join(words)}; {_stamp(now.replace(microsecond=0))}".encode("ascii", "replace"))


_stamp = lru_cache(maxsize=4)(format_datetime)  # all mails of a second have the same


def return_path(sender: Path) -> bytes:
    """The Return-Path field of final delivery; an address outside ASCII stays UTF-8 (RFC 6532)."""
    return f"Return-Path: <{sender}>\r\n".encode()


def strip(header: bytes, *, authserv_id: str, names: Iterable[bytes] = ()) -> bytes:
    """The header without what may not come from outside: Return-Path, X-Govmail-*, Authentication-Results in our name.

    `names` are further lower-case names to remove, e.g. b"bcc" at submission. What stays is unchanged, octet for octet.
    """
    unwanted = frozenset((b"return-path", *names))
    kept: list[bytes] = []
    position = 0
    for field in iterate(header):
        name = field.name.lower()
        forged = name == b"authentication-results" and _names_us(unfold(field.value), authserv_id)
        if name in unwanted or name.startswith(OWN_PREFIX) or forged:
            kept.append(header[position : field.start])
            position = field.end
    kept.append(header[position:])
    return b"".join(kept)


def without_return_path(header: bytes) -> bytes:
    """The header as it leaves: Return-Path is added by whoever delivers finally (RFC 5321 §4.4), and we put ours first."""
    position = 0
    for field in iterate(header):
        if field.name.lower() != b"return-path" or field.start != position:
            break
        position = field.end
    return header[position:]


def _names_us(value: bytes, authserv_id: str) -> bool:
    # authserv-id is compared without case and without a comment before it; one that cannot be read is not trusted either
    found = _AUTHSERV_ID.match(value)
    if found is None:
        return True
    name = (found[1] if found[1] is not None else found[2]).decode("latin-1").lower()
    ours = authserv_id.lower()
    return name in (ours, f"{ours}.") or name.split("/")[0] == ours


def prepend(header: bytes, fields: Iterable[bytes]) -> bytes:
    """The header with finished fields (each with its CR LF) in front, in this order."""
    return b"".join((*fields, header))
