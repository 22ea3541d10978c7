"""The client's side of SCRAM-SHA-256, written apart from the server's: RFC 5802 §3 read once more."""

from __future__ import annotations

import base64
import hashlib
import hmac


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def _keys(password: str, server_first: bytes) -> tuple[bytes, bytes]:
    fields = dict(part.split(b"=", 1) for part in server_first.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields[b"s"]), int(fields[b"i"]))
    return _mac(salted, b"Client Key"), _mac(salted, b"Server Key")


def _final(header: bytes, server_first: bytes, binding: bytes) -> bytes:
    return b"c=" + base64.b64encode(header + binding) + b"," + server_first.split(b",")[0]


def final_message(password: str, header: bytes, bare: bytes, server_first: bytes, *, binding: bytes = b"") -> bytes:
    """client-final-message. `header`: gs2-header; `bare`: client-first-message-bare; `binding`: channel binding data."""
    client_key, _ = _keys(password, server_first)
    unproved = _final(header, server_first, binding)
    signature = _mac(hashlib.sha256(client_key).digest(), b",".join((bare, server_first, unproved)))
    proof = bytes(left ^ right for left, right in zip(client_key, signature, strict=True))
    return unproved + b",p=" + base64.b64encode(proof)


def server_signature(password: str, header: bytes, bare: bytes, server_first: bytes, *, binding: bytes = b"") -> bytes:
    """server-final-message of a server that knows the keys."""
    _, server_key = _keys(password, server_first)
    message = b",".join((bare, server_first, _final(header, server_first, binding)))
    return b"v=" + base64.b64encode(_mac(server_key, message))
