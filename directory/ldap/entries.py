"""How units, people and groups lie in LDAP: DNs, filters, attributes.

Invariants
- The DN is the hierarchy: `uid=zhangsan,ou=fgw,ou=ganzhou,ou=agencies,dc=jx,dc=example`. The root unit is the entry at the
  base itself, every other unit's RDN is `ou=` its label, so DNs of units need no escaping.
- What comes from outside enters a DN through `rdn` and a filter through `equals`, `begins`, `ends` and `any_of`, never otherwise.

RFC 4514 (DNs), RFC 4515 (filters).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn  # RFC 4514 §2.4

from directory.ldap.pool import Entry
from directory.model import Group, NewPerson, Person, Unit
from govmail.interfaces import PersonState
from govmail.mail.address import Address
from govmail.mail.pinyin import split_name

UNIT = (
    "govId", "govLabel", "govLevel", "displayName", "govKind", "govLine", "govCode", "govRank", "govIsRegion", "govOwnDomain",
    "govKeeper",
)
PERSON = ("govId", "cn", "govAddress", "govPrimaryAddress", "govState", "govPinyin", "title", "govStamp", "govQuota")
GROUP = ("govId", "govPrimaryAddress", "displayName", "govMember", "govRemoteMember")
TARGET = ("govId", "govPrimaryAddress", "govState", "govQuota")

UNIT_CLASSES = ("top", "organizationalUnit", "govUnit")
PERSON_CLASSES = ("top", "person", "organizationalPerson", "inetOrgPerson", "govMailAccount")
GROUP_CLASSES = ("top", "govGroup")

IS_UNIT = "(objectClass=govUnit)"
IS_PERSON = "(objectClass=govMailAccount)"
IS_GROUP = "(objectClass=govGroup)"

SCRAM = "{SCRAM}"  # no scheme of slapd's: it lets nobody bind with it
ARGON2 = "{ARGON2}"  # slapd's pw-argon2 takes the encoded hash behind this mark

_FIRST_RDN = re.compile(r"(?:\\.|[^,\\])*,", re.DOTALL)


# -- filters ------------------------------------------------------------------------------------------------------


def equals(attribute: str, value: str) -> str:
    return f"({attribute}={_escape(value)})"


def begins(attribute: str, value: str) -> str:
    return f"({attribute}={_escape(value)}*)"


def ends(attribute: str, value: str) -> str:
    return f"({attribute}=*{_escape(value)})"


def any_of(attribute: str, values: Sequence[str]) -> str:
    return "(|" + "".join(equals(attribute, value) for value in values) + ")"


def both(*parts: str) -> str:
    return "(&" + "".join(parts) + ")"


def either(*parts: str) -> str:
    return "(|" + "".join(parts) + ")"


def _escape(value: str) -> str:
    escaped: str = escape_filter_chars(value)  # type: ignore[no-untyped-call]
    return escaped


# -- DNs ----------------------------------------------------------------------------------------------------------


def parent_of(dn: str) -> str:
    """The DN above; "" above a single RDN."""
    first = _FIRST_RDN.match(dn)
    return dn[first.end() :].lstrip() if first else ""


def dn_key(dn: str) -> str:
    """Units' DNs as they are compared: case and blanks after commas do not matter."""
    return re.sub(r",\s+", ",", dn).lower()


def is_below(dn: str, ancestor: str) -> bool:
    """Whether the unit at `dn` is the one at `ancestor` or lies below it."""
    return dn_key(dn) == dn_key(ancestor) or dn_key(dn).endswith("," + dn_key(ancestor))


def unit_rdn(label: str) -> str:
    return f"ou={label}"


def rdn(kind: str, value: str) -> str:
    """The RDN of a person (uid) or group (cn)."""
    escaped: str = escape_rdn(value)  # type: ignore[no-untyped-call]
    return f"{kind}={escaped}"


def path_of(dn: str, base: str, root_label: str) -> str:
    """Labels from the root, "/jx/ganzhou/fgw/"."""
    inner = dn_key(dn)[: -len(dn_key(base))].rstrip(",")
    labels = [part.removeprefix("ou=") for part in inner.split(",")[::-1] if part]
    return "/" + "".join(f"{label}/" for label in [root_label, *labels])


# -- values <-> entries -------------------------------------------------------------------------------------------


def unit_of(entry: Entry, parent_id: str | None, path: str) -> Unit:
    return Unit(
        unit_id=entry.one("govId"), parent_id=parent_id, name=entry.one("displayName"), label=entry.one("govLabel"),
        level=int(entry.one("govLevel")), kind=entry.one("govKind"), line=entry.one("govLine"),
        code=entry.one("govCode") or None, rank=entry.one("govRank"), domain=entry.one("govOwnDomain") or None,
        is_region=entry.one("govIsRegion") == "TRUE", keeper_id=entry.one("govKeeper") or None, path=path,
    )


def unit_values(unit: Unit) -> dict[str, Sequence[str] | str]:
    return {
        "govId": unit.unit_id, "govLabel": unit.label, "govLevel": str(unit.level), "displayName": unit.name,
        "govKind": unit.kind, "govLine": unit.line, "govCode": unit.code or "", "govRank": unit.rank,
        "govIsRegion": "TRUE" if unit.is_region else "FALSE", "govOwnDomain": unit.domain or "",
    }


def address_of(key: str) -> Address:
    """An address from its key, as it stands in govAddress."""
    local, _, domain = key.rpartition("@")
    return Address(local, domain)


def person_of(entry: Entry, unit_id: str) -> Person:
    primary = Address.parse(entry.one("govPrimaryAddress"))
    aliases = sorted(key for key in entry.all("govAddress") if key != primary.key)
    return Person(
        person_id=entry.one("govId"), unit_id=unit_id, name=entry.one("cn"),
        addresses=(primary, *(address_of(key) for key in aliases)), state=PersonState(entry.one("govState")),
        pinyin=entry.one("govPinyin"), title=entry.one("title"), stamp=entry.one("govStamp"),
        quota_octets=quota_of(entry),
    )


def quota_of(entry: Entry) -> int | None:
    return int(entry.one("govQuota")) if entry.one("govQuota") else None


def person_values(new: NewPerson, person_id: str, stamp: str) -> dict[str, Sequence[str] | str]:
    return {
        "uid": new.address.local, "govId": person_id, "govState": new.state.value, "govStamp": stamp,
        "title": new.title, "govPinyin": new.pinyin,
        "govQuota": "" if new.quota_octets is None else str(new.quota_octets),
        "userPassword": password_values(new.password_hash),
        "govAddress": [one.key for one in (new.address, *new.aliases)],
        **name_values(new.name), **primary_values(new.address),
    }


def name_values(name: str) -> dict[str, str]:
    """cn and what repeats it; sn is required by the class person (RFC 4519 §2.32)."""
    return {"cn": name, "displayName": name, "sn": split_name(name)[0]}


def primary_values(address: Address) -> dict[str, str]:
    """The primary address and `mail`, which is an IA5 string (RFC 4524 §2.16) and cannot hold every address."""
    return {"govPrimaryAddress": str(address), "mail": str(address) if address.ascii else ""}


def group_of(entry: Entry, unit_id: str) -> Group:
    return Group(
        group_id=entry.one("govId"), unit_id=unit_id, address=Address.parse(entry.one("govPrimaryAddress")),
        name=entry.one("displayName"), members=tuple(sorted([*entry.all("govMember"), *entry.all("govRemoteMember")])),
    )


def split_members(members: Sequence[str]) -> Mapping[str, list[str]]:
    """Attribute -> members that stand in it."""
    return {
        "govMember": [member for member in members if "@" not in member],
        "govRemoteMember": [member for member in members if "@" in member],
    }


def password_hash(entry: Entry) -> str:
    """The inverse of `password_values`; "" where there is no argon2id hash that can be read and checked here."""
    values = entry.all("userPassword")
    argon2 = next((value.removeprefix(ARGON2) for value in values if value.startswith(ARGON2)), "")
    keys = next((value.removeprefix(SCRAM) for value in values if value.startswith(SCRAM)), "")
    return f"{argon2} {keys}" if argon2 and keys else argon2


def password_values(password_hash: str) -> list[str]:
    """userPassword: the argon2id hash, and beside it the SCRAM keys; one who replaces the attribute replaces both."""
    argon2, _, keys = password_hash.partition(" ")
    return [mark + text for mark, text in ((ARGON2, argon2), (SCRAM, keys)) if text]
