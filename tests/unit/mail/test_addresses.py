"""Address lists as senders write them."""

from __future__ import annotations

import pytest

from govmail.mail.addresses import parse_addresses


def shown(value: bytes) -> list[tuple[str, str]]:
    return [(one.display, one.address) for one in parse_addresses(value, 1000) if one.is_mailbox]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 5322 appendix A
        (b"John Doe <jdoe@machine.example>", [("John Doe", "jdoe@machine.example")]),
        (b'"Joe Q. Public" <john.q.public@example.example>', [("Joe Q. Public", "john.q.public@example.example")]),
        (b"Mary Smith <mary@x.test>, jdoe@example.example, Who? <one@y.test>", [("Mary Smith", "mary@x.test"), ("", "jdoe@example.example"), ("Who?", "one@y.test")]),
        (b'<boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.example>', [("", "boss@nil.test"), ('Giant; "Big" Box', "sysservices@example.example")]),
        (b"A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;", [("Ed Jones", "joe@where.test"), ("", "joe@where.test"), ("John", "jdoe@one.test")]),
        (b"Undisclosed recipients:;", []),
        (b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", [("Pete", "pete@silly.test")]),
        (b"A Group(Some people):Chris Jones <c@(Chris's host.)public.example>, joe@example.org;(the end)", [("Chris Jones", "c@public.example"), ("", "joe@example.org")]),
        (b"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example", [("Mary Smith", "mary@example.net"), ("", "jdoe@test.example")]),
        (b"Joe Q. Public <john.q.public@example.com>", [("Joe Q. Public", "john.q.public@example.com")]),
        # as found
        (b"a@b.example (Full (nested) Name)", [("Full (nested) Name", "a@b.example")]),
        (b"root", [("", "root")]),
        (b"x <a@b.example", [("x", "a@b.example")]),
        (b'"a b"@c.example', [("", "a b@c.example")]),
        (b'"john@home"@x.example', [("", "john@home@x.example")]),
        (b"a@[192.0.2.1]", [("", "a@[192.0.2.1]")]),
        (b"Big Name bb@bug.example", [("Big Name", "bb@bug.example")]),
        (b",,a@b.example,,", [("", "a@b.example")]),
        (b'"=?utf-8?B?5byg5LiJ?=" <z@b.example>', [("张三", "z@b.example")]),
        ("张三 <z@b.example>; 李四 <l@b.example>".encode("gbk"), [("张三", "z@b.example"), ("李四", "l@b.example")]),
        ("用户@邮件.example".encode(), [("", "用户@邮件.example")]),
        (b"", []),
    ],
)
def test_addresses_are_read(value: bytes, expected: list[tuple[str, str]]) -> None:
    assert shown(value) == expected


def test_a_group_left_open_is_closed() -> None:
    found = parse_addresses(b"g: a@b.example", 10)
    assert [one.is_mailbox for one in found] == [False, True, False]
    assert found[0].local == b"g"
    assert found[2].local is None


def test_an_address_in_quotes_is_not_taken_for_the_sender() -> None:
    one, *others = parse_addresses(b'"boss@gov.example" <thief@evil.example>', 10)
    assert not others
    assert (one.display, one.address) == ("boss@gov.example", "thief@evil.example")


def test_only_so_many_addresses_are_read() -> None:
    assert len(parse_addresses(b"a@b.example," * 100_000, 10_000)) == 10_000


@pytest.mark.parametrize("piece", [b"(", b'"', b"<", b",", b":", b"a:;", b"@", b"[", b"\\", b"( ", b'"a" ', b"a "])
def test_hostile_lists_end(piece: bytes) -> None:
    parse_addresses(piece * 50_000, 10_000)
