"""Bearer tokens: which ones open a mailbox, and what an issuer's keys cost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from directory import tokens
from directory.issuers import RETRY_SECONDS, Issuers
from govmail.config import Issuer
from govmail.errors import AuthenticationFailed, DirectoryUnavailable
from tests.kit.authority import TokenMaker, b64url

NOW = 1_800_000_000
ISSUER = Issuer(issuer="https://sso.jx.example", audience="govmail", jwks_file="keys.json")
CLAIMS: dict[str, Any] = {"iss": ISSUER.issuer, "aud": "govmail", "exp": NOW + 300, "iat": NOW, "email": "zhangsan@jx.example"}
MAKER = TokenMaker()
KEYS = tokens.read_keys(MAKER.jwks())


def refused(token: str) -> str:
    with pytest.raises(AuthenticationFailed) as error:
        tokens.check(token, KEYS, ISSUER, NOW)
    return error.value.private or ""


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_each_algorithm_with_its_key_and_with_no_other(algorithm: str) -> None:
    token = MAKER.token(CLAIMS, algorithm)
    assert tokens.check(token, KEYS, ISSUER, NOW)["email"] == "zhangsan@jx.example"
    assert "email" in tokens.check(MAKER.token(CLAIMS, algorithm, kid=""), KEYS, ISSUER, NOW)
    head, _, signature = token.split(".")
    assert "signature" in refused(f"{head}.{b64url(json.dumps({**CLAIMS, 'email': 'lisi@jx.example'}).encode())}.{signature}")
    assert "signature" in refused(TokenMaker().token(CLAIMS, algorithm))
    for other in {"RS256", "ES256", "EdDSA"} - {algorithm}:
        assert "key" in refused(MAKER.token(CLAIMS, algorithm, alg=other, kid=algorithm))
        assert "signature" in refused(MAKER.token(CLAIMS, algorithm, alg=other, kid=""))


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS256", "RS384", "PS256", None, ["ES256"]])
def test_no_other_algorithm(algorithm: object) -> None:
    head = b64url(json.dumps({"alg": algorithm, "kid": "RS256"}).encode())
    body = b64url(json.dumps(CLAIMS).encode())
    public = MAKER.rsa_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for signature in (b"", hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()):
        assert "key" in refused(f"{head}.{body}.{b64url(signature)}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://other.example"}, "issuer"), ({"iss": None}, "issuer"), ({"aud": "other"}, "audience"), ({"aud": None}, "audience"),
        ({"aud": ["other", "another"]}, "audience"), ({"exp": NOW - 61}, "expired"), ({"exp": None}, "times"), ({"exp": "tomorrow"}, "times"),
        ({"exp": True}, "times"), ({"nbf": NOW + 61}, "not valid yet"), ({"nbf": "x"}, "times"),
    ],
)  # fmt: skip
def test_claims_that_do_not_fit(change: dict[str, Any], reason: str) -> None:
    assert reason in refused(MAKER.token({**CLAIMS, **change}))


@pytest.mark.parametrize("change", [{"aud": ["other", "govmail"]}, {"exp": NOW - 59}, {"nbf": NOW + 59}])
def test_claims_that_just_fit(change: dict[str, Any]) -> None:
    assert tokens.check(MAKER.token({**CLAIMS, **change}), KEYS, ISSUER, NOW)


def test_a_token_without_an_end_and_one_that_asks_for_more_than_we_know() -> None:
    assert "times" in refused(MAKER.token({key: value for key, value in CLAIMS.items() if key != "exp"}))
    assert "header" in refused(MAKER.token(CLAIMS, crit=["b64"], b64=False))
    assert "header" in refused(MAKER.token(CLAIMS, kid=7))


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "a.b.c.d", "....", "e30.e30.", "W10.W10.W10", "é.e30.e30", "e30=.e30.e30", "[" * 3000 + ".e30.e30"])
def test_what_is_no_token(token: str) -> None:
    refused(token)


def test_keys_that_are_too_weak_or_for_something_else_are_left_out() -> None:
    small = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    good = json.loads(MAKER.jwks())["keys"][1]
    weak = {"kty": "RSA", "n": b64url(small.n.to_bytes(128, "big")), "e": "AQAB"}
    off_curve = {**good, "x": good["y"], "y": good["x"]}
    others: list[Any] = [weak, off_curve, {**good, "use": "enc"}, {**good, "alg": "ES384"}, {**good, "x": 3}, {"kty": "EC"}, {**good, "crv": "P-384"}]
    assert tokens.read_keys(json.dumps({"keys": others}).encode()) == []
    for bad in (b"", b"[]", b"{}", b'{"keys": 3}', base64.b64encode(b"x")):
        with pytest.raises(ValueError):
            tokens.read_keys(bad)


# -- keys that are fetched ----------------------------------------------------------------------------------------


class Site:
    """An issuer's web server, and the clock."""

    def __init__(self) -> None:
        self.body, self.status, self.asked, self.now = MAKER.jwks(), 200, 0, 1000.0
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(body=self.body, status=self.status, headers={"Location": self.url} if self.status == 302 else None)

    def issuers(self) -> Issuers:
        issuer = Issuer(issuer=ISSUER.issuer, audience="govmail", jwks_url=self.url, cache_seconds=600.0)
        return Issuers((issuer,), Path("/nonexistent"), monotonic=lambda: self.now)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/jwks", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    listening = web.TCPSite(runner, "127.0.0.1", 0)
    await listening.start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    yield site
    await runner.cleanup()


async def test_keys_are_kept_and_a_new_one_is_fetched_when_a_token_names_it(site: Site) -> None:
    issuers = site.issuers()
    assert [await issuers.address(MAKER.token(CLAIMS), NOW) for _ in range(3)] == ["zhangsan@jx.example"] * 3
    assert site.asked == 1
    site.body = MAKER.jwks("new-")
    for _ in range(3):  # so soon after the last time nothing is fetched, whatever tokens say
        with pytest.raises(AuthenticationFailed):
            await issuers.address(MAKER.token(CLAIMS, kid="new-ES256"), NOW)
    assert site.asked == 1
    site.now += RETRY_SECONDS
    assert await issuers.address(MAKER.token(CLAIMS, kid="new-ES256"), NOW)
    assert site.asked == 2
    with pytest.raises(AuthenticationFailed):  # the old one has been withdrawn
        await issuers.address(MAKER.token(CLAIMS), NOW)


async def test_an_issuer_that_is_away(site: Site) -> None:
    issuers = site.issuers()
    token = MAKER.token(CLAIMS)
    for site.status, site.body in ((500, b""), (302, b""), (200, b"<html>"), (200, b" " * 300_000 + MAKER.jwks())):
        with pytest.raises(DirectoryUnavailable):
            await issuers.address(token, NOW)
        site.now += RETRY_SECONDS
    site.status, site.body = 200, MAKER.jwks()
    assert await issuers.address(token, NOW)
    site.status = 500
    site.now += 7200
    assert await issuers.address(token, NOW)  # with the keys of two hours ago
    site.now += 86_400
    with pytest.raises(DirectoryUnavailable):
        await issuers.address(token, NOW)


async def test_whose_address_a_token_holds(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(MAKER.jwks())
    issuers = Issuers((ISSUER,), tmp_path)
    assert await issuers.address(MAKER.token({**CLAIMS, "email_verified": True}), NOW) == "zhangsan@jx.example"
    for change in ({"email": None}, {"email": ["a@jx.example"]}, {"email": ""}, {"email_verified": False}, {"email_verified": "false"}, {"iss": "https://x.example"}):
        with pytest.raises(AuthenticationFailed):
            await issuers.address(MAKER.token({**CLAIMS, **change}), NOW)
    assert not Issuers((), tmp_path)
