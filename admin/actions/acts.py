"""Every operator act by the name that the control socket, the command line and the audit trail use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from admin import doctor
from admin.actions import (
    audit,
    domain,
    group,
    mailbox,
    person,
    person_import,
    person_quota,
    quarantine,
    queue,
    unit,
)

ACTS: Mapping[str, Callable[..., Any]] = MappingProxyType({
    "unit.add": unit.add,
    "unit.add_many": unit.add_many,
    "unit.list": unit.list_units,
    "unit.tree": unit.tree_,
    "unit.show": unit.show,
    "person.add": person.add,
    "person.add_many": person_import.add_many,
    "person.list": person.list_people,
    "person.show": person.show,
    "person.passwd": person.passwd,
    "person.quota": person_quota.set_quota,
    "person.disable": person.disable,
    "person.enable": person.enable,
    "person.unlock": person.unlock,
    "domain.add": domain.add,
    "domain.list": domain.list_domains,
    "domain.dns": domain.dns,
    "domain.host": domain.host,
    "group.add": group.add,
    "group.list": group.list_groups,
    "group.show": group.show,
    "mailbox.list": mailbox.list_mailboxes,
    "mailbox.show": mailbox.show,
    "mailbox.usage": mailbox.usage,
    "mailbox.count": mailbox.count,
    "mailbox.capability": mailbox.capability,
    "mailbox.share": mailbox.share,
    "queue.list": queue.list_entries,
    "queue.show": queue.show,
    "queue.retry": queue.retry,
    "queue.delete": queue.delete,
    "quarantine.list": quarantine.list_items,
    "quarantine.show": quarantine.show,
    "quarantine.release": quarantine.release,
    "quarantine.delete": quarantine.delete,
    "audit.list": audit.list_entries,
    "audit.verify": audit.verify,
    "doctor": doctor.run,
})
