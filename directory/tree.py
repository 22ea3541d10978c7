"""The rules of the unit tree, as pure functions; both directories ask them before they change anything.

Invariants: a label is a domain label (RFC 5321 §4.1.2 sub-domain, at most 63 octets), so it can stand in a DN, a domain
and a path without escaping; a name holds no "/" (paths), no control characters and is NFC.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from directory.model import Level, NewPerson, NewUnit, Unit
from govmail.errors import BadAddress, BadInput, NotFound
from govmail.mail.address import Address, canonical_domain

NAME_LENGTH = 200  # characters
PATH_DEPTH = 32

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


def check_label(label: str) -> str:
    """The label itself; raises BadInput when it is none."""
    if not _LABEL.match(label):
        raise BadInput(f"label {label!r}: use lower-case letters, digits and inner hyphens, at most 63")
    return label


def check_name(name: str, *, what: str = "name") -> str:
    """The name in NFC without outer blanks; raises BadInput when it is empty, too long or holds odd characters."""
    text = unicodedata.normalize("NFC", name).strip()
    if not text:
        raise BadInput(f"{what}: must not be empty")
    if len(text) > NAME_LENGTH:
        raise BadInput(f"{what}: longer than {NAME_LENGTH} characters")
    # Cf has bidirectional overrides and zero-width characters: two names that look alike must be alike.
    if "/" in text or any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text):
        raise BadInput(f"{what} {text!r}: holds '/', a control or an invisible character")
    return text


def check_text(text: str, *, what: str) -> str:
    """Like check_name, but may be empty."""
    return check_name(text, what=what) if text.strip() else ""


def check_domain(domain: str) -> str:
    """The domain in canonical form; raises BadInput. An address literal is no mail domain of ours."""
    try:
        canonical = canonical_domain(domain)
    except BadAddress as error:
        raise BadInput(f"domain {domain!r}: {error.public}") from error
    if canonical.startswith("[") or "." not in canonical:
        raise BadInput(f"domain {domain!r}: needs at least two labels")
    return canonical


def check_unit(new: NewUnit) -> NewUnit:
    """The unit with its fields in canonical form; raises BadInput."""
    if not Level.PROVINCE <= new.level <= Level.TOWNSHIP:
        raise BadInput(f"level {new.level}: 1 province, 2 city, 3 county, 4 township")
    return replace(
        new,
        name=check_name(new.name),
        label=check_label(new.label),
        domain=check_domain(new.domain) if new.domain else None,
        kind=check_text(new.kind, what="kind"),
        line=check_text(new.line, what="line"),
        rank=check_text(new.rank, what="rank"),
        code=check_text(new.code or "", what="code") or None,
    )


def check_person(new: NewPerson) -> NewPerson:
    """The person with its fields in canonical form; raises BadInput."""
    if new.quota_octets is not None and new.quota_octets < 0:
        raise BadInput("quota: must not be negative")
    keys = [new.address.key, *(alias.key for alias in new.aliases)]
    if len(set(keys)) < len(keys):
        raise BadInput(f"{new.address}: given twice")
    return replace(
        new,
        name=check_name(new.name),
        title=check_text(new.title, what="title"),
        pinyin=check_text(new.pinyin, what="pinyin"),
    )


def check_place(level: int, parent: Unit) -> None:
    """Raises BadInput when a unit of this level cannot lie below `parent`: regions get smaller downwards."""
    if level < parent.level:
        raise BadInput(f"level {level} cannot lie below {parent.name} of level {parent.level}")
    if parent.path.count("/") > PATH_DEPTH:
        raise BadInput(f"{parent.name}: the tree is {PATH_DEPTH} levels deep at most")


def check_move(unit: Unit, parent: Unit) -> None:
    """Raises BadInput when the move would make a cycle or tear out the root."""
    if unit.parent_id is None:
        raise BadInput(f"{unit.name} is the root and cannot be moved")
    if is_below(parent, unit):
        raise BadInput(f"{parent.name} lies below {unit.name}")
    check_place(unit.level, parent)


def is_below(unit: Unit, ancestor: Unit) -> bool:
    """Whether `unit` is `ancestor` or in its subtree."""
    return unit.path.startswith(ancestor.path)


def join_path(parent_path: str, label: str) -> str:
    """The path of the unit `label` below `parent_path`; "" = above the root."""
    return f"{parent_path or '/'}{label}/"


def split_path(path: str) -> list[str]:
    """Names or labels of a path as operators write it; raises BadInput when it is empty or too deep."""
    parts = [unicodedata.normalize("NFC", part).strip() for part in path.strip().strip("/").split("/")]
    if not all(parts) or len(parts) > PATH_DEPTH:
        raise BadInput(f"path {path!r}: names from the root, separated by '/'")
    return parts


def pick(units: Sequence[Unit], part: str) -> Unit:
    """The one of some siblings that one part of a path means, by name before label; raises NotFound."""
    for unit in units:
        if unit.name == part:
            return unit
    for unit in units:
        if unit.label == part:
            return unit
    raise NotFound(f"unit {part}: not found")


def check_member(member: str) -> str | Address:
    """A member of a group: a directory_id as it is, an address in canonical form; raises BadInput."""
    if "@" not in member:
        return member
    try:
        return Address.parse(member)
    except BadAddress as error:
        raise BadInput(f"member {member!r}: {error.public}") from error
