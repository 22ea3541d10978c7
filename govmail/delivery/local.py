"""Plans who gets a message how: a row in a mailbox now, or an entry in the queue.

Invariants: each mailbox gets a message once, however many recipients stand for it; planning is pure; a recipient is in
exactly one place, and a failure inside the storing transaction moves it from its mailbox to the queue or to the reply.

RFC 5321 §6.1 (a recipient that fails after acceptance gets a notification), RFC 3461 §4.1 (NOTIFY), §6 (groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from govmail import errors
from govmail.config import Limits
from govmail.errors import MailError
from govmail.interfaces import Resolution
from govmail.mail.address import Address
from govmail.mail.envelope import Envelope, Notify, Recipient
from govmail.store.values import Delivered, Delivery, NewEntry, NewQueueMessage

INBOX, JUNK = "INBOX", "Junk"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one transaction shall store. `owners` says for which recipient each mailbox owner gets the mail."""

    deliveries: tuple[Delivery, ...]
    queue_message: NewQueueMessage  # with the entries known before the delivery
    owners: dict[str, tuple[Recipient, Address]]
    bounces: bool  # whether a permanent failure is reported to the sender
    mailbox: str  # which of a person's mailboxes the mail belongs in
    retry_after: int  # seconds

    def on_failure(self, delivered: Delivered) -> NewEntry | None:
        """The queue entry that a failed delivery becomes when others succeeded: temporary → tried again,
        permanent → reported. Pure."""
        kind = error_class(delivered)
        recipient, address = self.owners[delivered.directory_id]
        if kind.status.startswith("4"):
            return replace(
                _entry("local", address, recipient, self.mailbox),
                directory_id=delivered.directory_id,
                code=452,
                status=kind.status,
                text=delivered.text,
                wait=self.retry_after,
            )
        if not self.bounces or Notify.FAILURE not in recipient.notify:
            return None
        return replace(_entry("bounce", recipient.address, recipient), code=550, status=kind.status, text=delivered.text)


def plan(
    envelope: Envelope,
    resolutions: Sequence[Resolution],
    *,
    queue_id: str,
    spam: bool,
    client_ip: str,
    limits: Limits,
    lifetime: int,
    retry_after: int = 60,
) -> Plan:
    """The plan for a message that has been accepted. `resolutions` in the order of the envelope's recipients.

    Mail marked as spam goes to Junk. Lists beyond `limits.expand_now` people in one mail are expanded by the queue; who
    asks to be told of success (RFC 3461 §4.1) gets the mail delivered by the queue, too, which reports it. `lifetime`:
    seconds until the queue gives up; `retry_after`: from a failed delivery to the next attempt.
    """
    mailbox = JUNK if spam else INBOX
    bounces = not envelope.sender.null and not spam
    owners: dict[str, tuple[Recipient, Address]] = {}
    deliveries: list[Delivery] = []
    entries: dict[tuple[str, str], NewEntry] = {}
    for recipient, resolution in zip(envelope.recipients, resolutions, strict=True):
        if not resolution.domain_is_local:
            _add(entries, _entry("remote", recipient.address, recipient))
            continue
        confirmed = bounces and Notify.SUCCESS in recipient.notify
        many = len(resolution.targets) > 1 and len(deliveries) + len(resolution.targets) > limits.expand_now
        if many or (confirmed and resolution.is_group):
            _add(entries, _entry("list", recipient.address, recipient, mailbox))
            continue
        if confirmed:
            _add(entries, _entry("local", recipient.address, recipient, mailbox))
            continue
        for target in resolution.targets:
            if target.directory_id not in owners:
                owners[target.directory_id] = (recipient, target.address)
                deliveries.append(Delivery(target.directory_id, str(target.address), mailbox, quota_octets=target.quota_octets))
        for address in resolution.remote:  # members elsewhere: reported for the list's address, RFC 3461 §6.2.7.3
            _add(entries, _entry("remote", address, recipient))
    return Plan(
        tuple(deliveries),
        NewQueueMessage(
            queue_id,
            str(envelope.sender),
            tuple(entries.values()),
            lifetime,
            envelope.envid,
            envelope.ret_full,
            envelope.smtputf8,
            envelope.login,
            client_ip,
        ),
        owners,
        bounces,
        mailbox,
        retry_after,
    )


def refusal(delivered: Sequence[Delivered]) -> MailError:
    """The one answer when every delivery has failed: permanent only if all are."""
    temporary = next((one for one in delivered if error_class(one).status.startswith("4")), None)
    worst = temporary or delivered[0]
    return error_class(worst)(worst.text or None)


def error_class(delivered: Delivered) -> type[MailError]:
    """The refusal that a Delivered names."""
    kind = getattr(errors, delivered.error or "", None)
    return kind if isinstance(kind, type) and issubclass(kind, MailError) else errors.StoreFailed


def _entry(kind: str, address: Address, recipient: Recipient, mailbox: str | None = None) -> NewEntry:
    return NewEntry(kind, str(address), address.domain, recipient.notify, recipient.orcpt, mailbox=mailbox)


def _add(entries: dict[tuple[str, str], NewEntry], entry: NewEntry) -> None:
    entries.setdefault((entry.kind, entry.recipient), entry)
