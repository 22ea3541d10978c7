"""The one way from a mailbox name to a mailbox: whose it is, and what this session may do there.

Invariants
- Every command gets at a mailbox by name through `locate` or `locate_new`, and at a selected one only while `recheck`
  has just found that it may. There is no other way to another person's account.
- Where a right is missing, somebody without the l right hears exactly what is said about a mailbox that does not exist.
- One's own mailboxes cost nothing: no question to the store or to the directory.
- What is asked is the state at the begin of a command; a right that was taken away is gone for the next one.
- Names of others' mailboxes mean themselves: aliases of special uses belong to one's own tree.

RFC 4314 §4 (which command needs which right), §6 (what must not be told); RFC 2342 (namespaces).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from govmail.errors import BadMailboxName, NoSuchMailbox, NotPermitted
from govmail.imap.state import Disconnected
from govmail.imap.status import BYE_DELETED
from govmail.interfaces import People
from govmail.store import acl, mailboxes, rights

if TYPE_CHECKING:
    from govmail.imap.session import Session

OTHERS = "其他用户"  # other users' namespace: their login is the next level
SHARED = "共享邮箱"  # shared namespace: the name of the shared account is the next level
ROOTS = (OTHERS, SHARED)


@dataclass(frozen=True, slots=True)
class Place:
    """A mailbox as an account and the name in it.

    `root`: what stands before that name for this session, "" for its own. `owner`: directory id, "" for its own.
    """

    account_id: int
    name: str
    rights: str
    root: str = ""
    owner: str = ""

    @property
    def own(self) -> bool:
        return not self.root

    @property
    def called(self) -> str:
        """The name that it has for this session."""
        return f"{self.root}/{self.name}" if self.root else self.name

    @property
    def flags(self) -> tuple[int, int]:
        """System flags and keywords that may be changed there."""
        return rights.flag_masks(self.rights)


class Guest:
    """What a session has in the mailbox of somebody else that it has selected."""

    __slots__ = ("leave", "rights")

    def __init__(self, rights: str, leave: Callable[[], None]) -> None:
        """`leave` ends the subscription to hints of that account."""
        self.rights = rights
        self.leave = leave


class NoOthers(People):
    """A directory that knows nobody: there are only one's own mailboxes."""

    async def find(self, login: str) -> str | None:
        return None

    async def logins(self, directory_ids: tuple[str, ...]) -> dict[str, str]:
        return {}


# -- by name ----------------------------------------------------------------------------------------------------------


async def locate(session: Session, name: str, needed: str = "", *, any_of: str = "") -> Place:
    """The place of an existing mailbox where the session has every right in `needed`, and one of `any_of`.

    Of the session's own tree, whether it exists is for the command to find out. Raises NoSuchMailbox, NotPermitted,
    DirectoryUnavailable.
    """
    root, owner, inner = _split(name)
    if not root:
        return Place(session.account_id, name, rights.ALL)
    if not inner:
        raise NoSuchMailbox
    found = await _nearest(session, root, owner, inner)
    if found is None:
        return Place(session.account_id, inner, rights.ALL)
    if found.mailbox.name != inner:
        raise NoSuchMailbox
    _check(found.rights, needed, any_of)
    return _place(found, inner, f"{root}/{owner}")


async def locate_new(session: Session, name: str) -> Place:
    """The place of a mailbox to be made: the k right in the nearest one above it that exists. Raises as `locate`, BadMailboxName."""
    root, owner, inner = _split(name)
    if not root:
        return Place(session.account_id, name, rights.ALL)
    if not inner:
        raise BadMailboxName("this name stands for mailboxes of others")
    found = await _nearest(session, root, owner, inner)
    if found is None:
        return Place(session.account_id, inner, rights.ALL)
    _check(found.rights, "k", "")
    return _place(found, inner, f"{root}/{owner}")


async def locate_root(session: Session, root: str) -> int:
    """The account whose tree is called `root` ("" = one's own), if a mailbox in it may be read. Raises NoSuchMailbox."""
    if not root:
        return session.account_id
    space, owner, inner = _split(root)
    if not space or inner:
        raise NoSuchMailbox
    found = await _nearest(session, space, owner, mailboxes.INBOX)
    if found is None:
        return session.account_id
    account_id = found.mailbox.account_id
    if not await session.server.database.read(acl.reads_somewhere, account_id, _me(session)):
        raise NoSuchMailbox
    return account_id


async def check_subtree(session: Session, place: Place, needed: str) -> None:
    """Whether the session has these rights in everything below the place, too; and INBOX is its owner's. Raises NotPermitted."""
    found = await session.server.database.read(acl.below, place.account_id, place.name, _me(session))
    if place.name == mailboxes.INBOX or not all(set(needed) <= set(one) for one in found):
        raise NotPermitted


def _split(name: str) -> tuple[str, str, str]:
    """(namespace, owner, name there); namespace "" for one's own tree."""
    if name.isascii():
        return "", "", name
    root, _, rest = mailboxes.canonical(name).partition("/")
    if root not in ROOTS:
        return "", "", name
    owner, _, inner = rest.partition("/")
    return root, owner, mailboxes.canonical(inner)


async def _nearest(session: Session, root: str, owner: str, inner: str) -> acl.Found | None:
    """What is found under the name, or nearest above it; None: the tree is the session's own. Raises NoSuchMailbox."""
    me, limits = _me(session), session.server.limits
    if len(inner) > limits.mailbox_name_octets or inner.count("/") >= limits.mailbox_depth:
        raise NoSuchMailbox  # and no list of all that could stand above it
    if root == OTHERS:
        person = await session.server.people.find(owner)
        if person is None:
            raise NoSuchMailbox
        if person == me:
            return None
        owner = person
    found = await session.server.database.read(acl.nearest, owner, inner, me, is_shared=root == SHARED)
    if found is None or (root == OTHERS and found.shared_name):
        raise NoSuchMailbox
    return found


def _check(having: str, needed: str, any_of: str) -> None:
    if set(needed) <= set(having) and (not any_of or set(any_of) & set(having)):
        return
    raise NotPermitted if "l" in having else NoSuchMailbox


def _place(found: acl.Found, inner: str, root: str) -> Place:
    return Place(found.mailbox.account_id, inner, found.rights, root, found.owner)


def _me(session: Session) -> str:
    assert session.principal is not None
    return session.principal.directory_id


# -- the selected mailbox -------------------------------------------------------------------------------------------


def enter(session: Session, place: Place) -> Guest | None:
    """Listen to what happens in the account of somebody else, from before its mailbox is read."""
    if place.own:
        return None
    return Guest(place.rights, session.server.bus.subscribe(place.account_id, session.wake))


async def recheck(session: Session, needed: str = "") -> None:
    """Whether the selected mailbox of somebody else may still be read, and the command may be done there.

    Without the r right it is gone for this session, as if it had been deleted. Raises Disconnected, NotPermitted.
    """
    view = session.view
    if view is None or view.guest is None:
        return
    view.guest.rights = await session.server.database.read(acl.in_force, view.account_id, view.mailbox_id, _me(session))
    if "r" not in view.guest.rights:
        session.close(BYE_DELETED)
        raise Disconnected
    _check(view.guest.rights + "l", needed, "")  # it is selected: its existence is no secret


# -- lists ----------------------------------------------------------------------------------------------------------


async def named(session: Session, found: list[acl.Found]) -> dict[str, acl.Found]:
    """Mailboxes of others by the name that they have for this session, in order."""
    if not found:
        return {}
    owners = tuple({one.owner for one in found if not one.shared_name})
    logins = await session.server.people.logins(owners) if owners else {}
    names: dict[str, acl.Found] = {}
    for one in found:
        owner = one.shared_name or logins.get(one.owner, "")
        if owner and "/" not in owner:  # a login with "/" cannot be a level of a name
            names[f"{SHARED if one.shared_name else OTHERS}/{owner}/{one.mailbox.name}"] = one
    return dict(sorted(names.items()))
