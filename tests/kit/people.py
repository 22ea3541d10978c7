"""A directory in memory: resolver and authenticator for tests of the protocols."""

from __future__ import annotations

from govmail.errors import AuthenticationFailed, DirectoryUnavailable
from govmail.interfaces import Principal, Resolution, Target
from govmail.mail.address import Address

UNIT = "00000000-0000-4000-8000-00000000ffff"


def person_id(name: str) -> str:
    """A directory_id that is the same for the same name."""
    return f"00000000-0000-4000-8000-{name.encode().hex()[:12]:0>12}"


class People:
    """Implements interfaces.Resolver and interfaces.Authenticator. `down` makes the directory unreachable."""

    def __init__(self, domain: str = "jx.example") -> None:
        self.domain = domain
        self.down = False
        self.aliases: dict[str, str] = {}  # address key -> name
        self.groups: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}  # address key -> names, addresses elsewhere
        self.passwords: dict[str, str] = {}
        self.disabled: set[str] = set()

    def add(self, name: str, password: str = "secret", *aliases: str) -> str:
        for address in (f"{name}@{self.domain}", *aliases):
            self.aliases[Address.parse(address).key] = name
        self.passwords[name] = password
        return person_id(name)

    def add_group(self, address: str, names: list[str], remote: list[str] | None = None) -> None:
        self.groups[Address.parse(address).key] = (tuple(names), tuple(remote or ()))

    def addresses(self, name: str) -> tuple[str, ...]:
        return tuple(key for key, owner in self.aliases.items() if owner == name)

    async def is_local_domain(self, domain: str) -> bool:
        if self.down:
            raise DirectoryUnavailable
        return domain == self.domain

    async def resolve(self, address: Address) -> Resolution:
        if not await self.is_local_domain(address.domain):
            return Resolution(address, False)
        if address.key in self.groups:
            names, remote = self.groups[address.key]
            return Resolution(
                address, True, tuple(map(self._target, names)), tuple(map(Address.parse, remote)), is_group=True
            )
        name = self.aliases.get(address.key)
        if name is None:
            return Resolution(address, True)
        if name in self.disabled:
            return Resolution(address, True, disabled=True)
        return Resolution(address, True, (self._target(name),))

    def _target(self, name: str) -> Target:
        return Target(person_id(name), Address(name, self.domain), UNIT)

    async def authenticate(self, login: str, password: str, source_ip: str) -> Principal:
        if self.down:
            raise DirectoryUnavailable
        try:
            name = self.aliases.get(Address.parse(login).key, "")
        except ValueError:
            name = ""
        if not name or self.passwords[name] != password:
            raise AuthenticationFailed
        return Principal(person_id(name), name, UNIT, self.addresses(name))
