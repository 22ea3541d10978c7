"""Who gets a mail how: planning, and what becomes of failures."""

from __future__ import annotations

import pytest

from govmail.config import Limits
from govmail.delivery import local
from govmail.errors import MailError, NoSuchMailbox, OverQuota
from govmail.interfaces import Resolution, Target
from govmail.mail.address import Address, Path
from govmail.mail.envelope import DEFAULT_NOTIFY, Envelope, Notify, Recipient
from govmail.store.values import Delivered

LIFETIME = 7200


def target(name: str) -> Target:
    return Target(f"id-{name}", Address(name, "jx.example"), "unit")


def person(name: str) -> Resolution:
    return Resolution(Address(name, "jx.example"), True, (target(name),))


def group(name: str, *members: str, remote: tuple[str, ...] = ()) -> Resolution:
    return Resolution(
        Address(name, "jx.example"), True, tuple(map(target, members)), tuple(map(Address.parse, remote)), is_group=True
    )


def elsewhere(address: str) -> Resolution:
    return Resolution(Address.parse(address), False)


def make(*resolutions: Resolution, sender: str = "a@else.example", notify: Notify = DEFAULT_NOTIFY, spam: bool = False, expand_now: int = 100) -> local.Plan:
    recipients = tuple(Recipient(one.address, notify) for one in resolutions)
    envelope = Envelope(Path.parse(sender), recipients)
    return local.plan(envelope, resolutions, queue_id="q1", spam=spam, client_ip="192.0.2.1", limits=Limits(expand_now=expand_now), lifetime=LIFETIME)


def entries(plan: local.Plan) -> list[tuple[str, str]]:
    return [(one.kind, one.recipient) for one in plan.queue_message.entries]


def owners(plan: local.Plan) -> list[str]:
    return [one.directory_id for one in plan.deliveries]


def test_everybody_once() -> None:
    plan = make(person("a"), group("all", "a", "b", remote=("x@else.example",)), person("b"), elsewhere("x@else.example"))
    assert owners(plan) == ["id-a", "id-b"]
    assert entries(plan) == [("remote", "x@else.example")]
    assert [one.delivered_to for one in plan.deliveries] == ["a@jx.example", "b@jx.example"]


def test_spam_goes_to_junk() -> None:
    assert {one.mailbox for one in make(person("a"), spam=True).deliveries} == {"Junk"}


def test_spam_goes_to_junk_also_when_the_queue_delivers_it() -> None:
    plan = make(person("a"), group("many", "b", "c"), spam=True, expand_now=1)
    (many,) = plan.queue_message.entries
    later = plan.on_failure(failure(OverQuota))
    assert later is not None
    assert (many.kind, many.mailbox, later.kind, later.mailbox) == ("list", "Junk", "local", "Junk")


def test_the_queue_gives_up_when_the_configuration_says() -> None:
    assert make(elsewhere("x@else.example")).queue_message.lifetime == LIFETIME


def test_lists_beyond_the_limit_wait() -> None:
    plan = make(group("some", "a", "b"), group("many", "c", "d"), person("e"), expand_now=3)
    assert owners(plan) == ["id-a", "id-b", "id-e"]
    assert entries(plan) == [("list", "many@jx.example")]


def test_who_wants_a_success_notice_is_served_by_the_queue() -> None:
    plan = make(person("a"), group("all", "b"), elsewhere("x@else.example"), notify=Notify.SUCCESS)
    assert owners(plan) == []
    assert entries(plan) == [("local", "a@jx.example"), ("list", "all@jx.example"), ("remote", "x@else.example")]
    assert owners(make(person("a"), notify=Notify.SUCCESS, sender="")) == ["id-a"]  # nobody to tell
    assert owners(make(person("a"), notify=Notify.SUCCESS, spam=True)) == ["id-a"]  # nobody we tell


def failure(kind: type[MailError]) -> Delivered:
    return Delivered("id-a", error=kind.__name__, text=kind.text)


def test_a_temporary_failure_is_tried_again() -> None:
    entry = make(group("all", "a", "b")).on_failure(failure(OverQuota))
    assert entry is not None
    assert (entry.kind, entry.recipient, entry.directory_id, entry.status) == ("local", "a@jx.example", "id-a", "4.2.2")


@pytest.mark.parametrize(
    ("options", "told"),
    [({}, True), ({"sender": ""}, False), ({"spam": True}, False), ({"notify": Notify.NEVER}, False), ({"notify": Notify.DELAY}, False)],
)
def test_a_permanent_failure_is_reported_to_who_wants_to_know(options: dict[str, object], told: bool) -> None:
    entry = make(group("all", "a", "b"), **options).on_failure(failure(NoSuchMailbox))  # type: ignore[arg-type]
    assert (entry is not None) == told
    if entry is not None:
        assert (entry.kind, entry.recipient, entry.status) == ("bounce", "all@jx.example", "5.2.0")


def test_one_answer_for_all() -> None:
    assert isinstance(local.refusal([failure(NoSuchMailbox), failure(OverQuota)]), OverQuota)
    assert isinstance(local.refusal([failure(NoSuchMailbox)]), NoSuchMailbox)
    assert local.refusal([Delivered("id-a", error="Nonsense")]).temporary
