"""The whole configuration of govmail as frozen, documented structs; read from one TOML file.

Invariants: unknown keys are refused; a struct that exists is valid; secrets are read from files or the environment,
never written in the file itself. The reference `deploy/govmail.toml` is generated from the descriptions here.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from govmail.errors import MailError

KB = 1024
MB = 1024 * KB


class BadConfig(MailError):
    """The configuration does not hold; the text names file, key and reason."""

    status = "4.3.5"
    text = "bad configuration"


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables of the file have in common."""


class Limits(Section, frozen=True, kw_only=True):
    """Every bound on what a client or a mail may make the server hold or do."""

    message_octets: Annotated[int, Meta(description="largest message accepted, octets", ge=64 * KB)] = 60 * MB
    memory_octets: Annotated[int, Meta(description="a message grows in memory up to this, then in a spool file")] = 2 * MB
    inflight_octets: Annotated[int, Meta(description="all unfinished messages together; beyond it 452 4.3.1")] = 512 * MB
    disk_floor_octets: Annotated[int, Meta(description="less free space than this where the data lies: no new mail is taken (452 4.3.1), so that what was accepted can still move; 0 = no floor", ge=0)] = 256 * MB
    inline_parse_octets: Annotated[int, Meta(description="messages up to this have their header changed on the event loop, larger ones in a thread")] = 64 * KB
    process_parse_octets: Annotated[int, Meta(description="messages over this are read by a process of their own")] = 4 * MB
    read_seconds: Annotated[float, Meta(description="a process that reads messages and answers none for so long is replaced")] = 120.0
    text_octets: Annotated[int, Meta(description="decoded text kept for search per message; beyond it decoded when searched")] = 256 * KB
    blob_inline_octets: Annotated[int, Meta(description="compressed bodies up to this lie in the database, larger ones in files")] = 64 * KB

    smtp_line_octets: Annotated[int, Meta(description="longest SMTP command line with its CR LF (RFC 5321 §4.5.3.1.4, RFC 4954 §4.5)")] = 12_288
    smtp_recipients: Annotated[int, Meta(description="recipients in one transaction (RFC 5321 §4.5.3.1.8 asks for 100)", ge=100)] = 1000
    smtp_transactions: Annotated[int, Meta(description="mails in one connection")] = 100_000
    smtp_errors: Annotated[int, Meta(description="refused commands before the connection is closed with 421")] = 20
    smtp_commands: Annotated[int, Meta(description="commands in one connection that carry no mail (NOOP, RSET, VRFY …)")] = 1000
    smtp_auth_failures: Annotated[int, Meta(description="failed logins before the connection is closed")] = 3
    smtp_idle_seconds: Annotated[float, Meta(description="wait for the next command (RFC 5321 §4.5.3.2.7: 5 minutes)")] = 300.0
    smtp_data_seconds: Annotated[float, Meta(description="wait for the next piece of data")] = 180.0
    smtp_data_total_seconds: Annotated[float, Meta(description="a whole message must have come within this")] = 3600.0
    accept_seconds: Annotated[float, Meta(description="filters and delivery may take this long while the sender waits")] = 240.0

    header_octets: Annotated[int, Meta(description="top header of a message")] = 256 * KB
    header_fields: Annotated[int, Meta(description="fields in one header")] = 1000
    header_addresses: Annotated[int, Meta(description="addresses read from one header field; the rest stays in the text only")] = 10_000
    mime_depth: Annotated[int, Meta(description="nesting of MIME parts; what lies deeper is one opaque part")] = 50
    mime_parts: Annotated[int, Meta(description="parts of one message; what follows is part of the last one")] = 2000
    received_fields: Annotated[int, Meta(description="Received fields before 554 5.4.6 (RFC 5321 §6.3)")] = 50
    line_octets: Annotated[int, Meta(description="a line of a message accepted from outside; 0 = no limit")] = 0

    imap_line_octets: Annotated[int, Meta(description="one IMAP command without its literals")] = 64 * KB
    imap_literal_octets: Annotated[int, Meta(description="literals of one command other than APPEND, together")] = 256 * KB
    imap_login_octets: Annotated[int, Meta(description="a whole command before login, literals included")] = 8 * KB
    imap_append_messages: Annotated[int, Meta(description="messages of one APPEND (RFC 3502)", ge=1)] = 1000
    imap_depth: Annotated[int, Meta(description="nested parentheses in one command")] = 50
    imap_search_keys: Annotated[int, Meta(description="keys in one SEARCH")] = 1000
    imap_updates: Annotated[int, Meta(description="searches that one connection has kept up to date (RFC 5267)")] = 8
    imap_thread_references: Annotated[int, Meta(description="ids of one References field that THREAD looks at, from its end")] = 100
    imap_set_ranges: Annotated[int, Meta(description="ranges in one sequence set")] = 10_000
    imap_errors: Annotated[int, Meta(description="BAD answers, or commands before login, until the connection is closed")] = 50
    imap_auth_failures: Annotated[int, Meta(description="failed logins before the connection is closed")] = 3
    imap_idle_seconds: Annotated[float, Meta(description="inactivity before logout (RFC 9051 §5.4: at least 30 minutes)", ge=1800)] = 1860.0
    imap_login_seconds: Annotated[float, Meta(description="time to log in")] = 60.0
    imap_stall_seconds: Annotated[float, Meta(description="wait for the rest of a command, or for the client to read")] = 300.0
    imap_keepalive_seconds: Annotated[float, Meta(description="IDLE says something at least this often, so that address translators keep the connection")] = 120.0
    imap_progress_seconds: Annotated[float, Meta(description="a command that takes longer says in between that it goes on (RFC 9585)", ge=1)] = 15.0
    imap_failure_seconds: Annotated[float, Meta(description="a failed login is answered after this")] = 2.0
    imap_output_octets: Annotated[int, Meta(description="unsent output of one connection; beyond it the command waits")] = 256 * KB
    imap_notify_lines: Annotated[int, Meta(description="changes of other mailboxes told at once; more of them end a NOTIFY")] = 1000
    mailbox_name_octets: Annotated[int, Meta(description="a whole mailbox name, UTF-8")] = 1000
    mailbox_depth: Annotated[int, Meta(description="levels of a mailbox name")] = 20
    mailboxes_per_account: Annotated[int, Meta(description="mailboxes of one account")] = 2000
    acl_entries: Annotated[int, Meta(description="people with rights of their own in one mailbox (RFC 4314)", ge=1)] = 500
    foreign_mailboxes: Annotated[int, Meta(description="access rights in mailboxes of others that LIST reads for one person")] = 5000
    annotations: Annotated[int, Meta(description="annotations of one mailbox: shared ones, and as many of each reader (RFC 5464)")] = 100
    annotation_octets: Annotated[int, Meta(description="the value of one annotation")] = 16 * KB
    keywords_per_account: Annotated[int, Meta(description="different keywords in one account", le=63)] = 60

    connections: Annotated[int, Meta(description="open connections of one listener")] = 25_000
    connections_per_source: Annotated[int, Meta(description="open connections of one listener from one IP address; offices sit behind one address")] = 2000
    connections_per_account: Annotated[int, Meta(description="open IMAP connections of one account")] = 100
    group_depth: Annotated[int, Meta(description="groups inside groups")] = 20
    group_members: Annotated[int, Meta(description="people that one address may reach")] = 200_000
    expand_now: Annotated[int, Meta(description="local recipients stored while the sender waits; larger lists go through the queue")] = 30_000
    mx_addresses: Annotated[int, Meta(description="addresses of a domain's mail servers that one attempt tries", ge=1)] = 6
    relay_recipients: Annotated[int, Meta(description="recipients in one outgoing transaction (RFC 5321 §4.5.3.1.8: every server takes 100)", ge=1)] = 100
    bounce_octets: Annotated[int, Meta(description="a message up to this size is returned whole in a bounce, of larger ones the header")] = 64 * KB
    login_failures_pair: Annotated[int, Meta(description="different wrong passwords for one account from one address before it must wait", ge=1)] = 5
    login_failures_account: Annotated[int, Meta(description="the same from all addresses; who has logged in from an address before is not kept out", ge=1)] = 50
    login_failures_source: Annotated[int, Meta(description="the same from one address for all accounts; offices sit behind one address", ge=1)] = 500
    login_lock_seconds: Annotated[float, Meta(description="the longest wait after wrong passwords; the first is 2 seconds, each more doubles it", ge=1)] = 900.0
    login_throttle_entries: Annotated[int, Meta(description="accounts and addresses whose wrong passwords are counted; beyond it the oldest are forgotten", ge=1)] = 65_536
    login_queue: Annotated[int, Meta(description="logins that may wait for a slow password hash; beyond it a temporary refusal")] = 2000
    tls_handshake_seconds: Annotated[float, Meta(description="time for a TLS handshake")] = 30.0
    control_octets: Annotated[int, Meta(description="one request on the control socket")] = 64 * MB


class Listener(Section, frozen=True, kw_only=True):
    """A port that is listened on."""

    name: Annotated[str, Meta(description="appears in logs and metrics")]
    protocol: Annotated[Literal["smtp", "submission", "imap"], Meta(description="smtp = mail from others, no login")]
    host: Annotated[str, Meta(description="address to bind")] = "127.0.0.1"
    port: Annotated[int, Meta(description="TCP port; 0 = any free one", ge=0, le=65535)]
    tls: Annotated[Literal["implicit", "starttls", "none"], Meta(description="how TLS begins")] = "starttls"
    allow_plain_login: Annotated[bool, Meta(description="logins without TLS; loopback addresses only, for benchmarks and tests")] = False
    channel_binding: Annotated[bool, Meta(description="announce SCRAM-SHA-256-PLUS, bound to our certificate (tls-server-end-point); clients that know only tls-exporter or tls-unique cannot use it and may give up")] = False
    client_ca_file: Annotated[str, Meta(description="PEM file with the authorities of client certificates, which log in by an address in them (AUTH=EXTERNAL); a client need not show one, but a bad one ends the connection; relative to the data directory; empty = none are asked for")] = ""
    client_crl_file: Annotated[str, Meta(description="PEM file with the lists of revoked certificates of all these authorities; read again when it changes; empty = none")] = ""
    imap4rev2: Annotated[bool, Meta(description="announce IMAP4rev2 (RFC 9051) beside IMAP4rev1; for imap only")] = True


class Tls(Section, frozen=True, kw_only=True):
    certificate: Annotated[str, Meta(description="PEM file with the certificate chain; relative to the data directory")] = "tls/cert.pem"
    key: Annotated[str, Meta(description="PEM file with the private key")] = "tls/key.pem"


class Store(Section, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="SQLAlchemy URL; empty = SQLite in the data directory. A password belongs into url_file")] = ""
    url_file: Annotated[str, Meta(description="file that holds the URL instead")] = ""
    durable: Annotated[bool, Meta(description="false loses acknowledged mail in a power cut; for tests only")] = True
    readers: Annotated[int, Meta(description="reading threads and connections", ge=1, le=64)] = 4


class DirectoryTable(Section, frozen=True, kw_only=True):
    kind: Annotated[Literal["local", "ldap"], Meta(description="own tables, or an LDAP server")] = "local"
    url: Annotated[str, Meta(description="ldap://host:port or ldaps://host:port")] = ""
    base: Annotated[str, Meta(description="DN under which the units lie")] = ""
    bind_dn: Annotated[str, Meta(description="service identity")] = ""
    bind_password_file: Annotated[str, Meta(description="file with its password; relative to the data directory")] = ""
    ca_file: Annotated[str, Meta(description="CA certificates for ldaps")] = ""
    writable: Annotated[bool, Meta(description="whether govmail may change the directory")] = True
    pool: Annotated[int, Meta(description="LDAP connections", ge=1, le=64)] = 4
    timeout_seconds: Annotated[float, Meta(description="connect and receive")] = 5.0
    positive_seconds: Annotated[float, Meta(description="answers are reused this long")] = 60.0
    negative_seconds: Annotated[float, Meta(description="'no such address' is reused this long")] = 10.0
    stale_seconds: Annotated[float, Meta(description="for delivery only, when the directory cannot be reached")] = 86_400.0
    cache_entries: Annotated[int, Meta(description="answers kept")] = 200_000
    quota_octets: Annotated[int, Meta(description="what the mailboxes of a person without a quota of their own may hold; 0 = no limit", ge=0)] = 0
    login_memory_seconds: Annotated[float, Meta(description="a verified login is remembered this long", le=86_400)] = 86_400.0
    scram_iterations: Annotated[int, Meta(description="work of the SCRAM-SHA-256 keys that are made beside the hash when a password is set; 0 = none are made and SCRAM is not announced. Who never got keys cannot log in by SCRAM", ge=0, le=10_000_000)] = 0
    administrators: Annotated[tuple[str, ...], Meta(description="addresses that get postmaster@ and abuse@ mail of units without a keeper")] = ()


class Issuer(Section, frozen=True, kw_only=True):
    """Who gives out bearer tokens (AUTH=OAUTHBEARER, AUTH=XOAUTH2)."""

    issuer: Annotated[str, Meta(description="what stands in a token's iss claim, octet for octet")]
    audience: Annotated[str, Meta(description="what must stand in its aud claim: a token made for another service opens nothing here")]
    jwks_file: Annotated[str, Meta(description="file with the issuer's public keys (RFC 7517); relative to the data directory")] = ""
    jwks_url: Annotated[str, Meta(description="https address of these keys instead; http on loopback only")] = ""
    claim: Annotated[str, Meta(description="claim that holds the person's mail address")] = "email"
    timeout_seconds: Annotated[float, Meta(description="for fetching the keys", gt=0)] = 5.0
    cache_seconds: Annotated[float, Meta(description="keys are used this long before they are fetched again", ge=1)] = 3600.0


class FilterTable(Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="appears in verdicts and headers")]
    kind: Annotated[Literal["rspamd", "clamd"], Meta(description="which filter")]
    url: Annotated[str, Meta(description="rspamd: http://host:port; clamd: tcp://host:port or unix:///path")]
    controller_url: Annotated[str, Meta(description="rspamd: http://host:port of its controller, for learning; empty = url")] = ""
    password_file: Annotated[str, Meta(description="rspamd: file with the controller's password; relative to the data directory")] = ""
    timeout_seconds: Annotated[float, Meta(description="for one message")] = 60.0
    workers: Annotated[int, Meta(description="messages scanned at the same time", ge=1, le=256)] = 8
    stream_octets: Annotated[int, Meta(description="clamd: its StreamMaxLength and MaxScanSize; larger mail is unscanned")] = 100 * MB
    sign: Annotated[bool, Meta(description="rspamd: ask for DKIM signatures on mail of our own people")] = True


class Filters(Section, frozen=True, kw_only=True):
    deadline_seconds: Annotated[float, Meta(description="for the whole chain")] = 90.0
    unscanned: Annotated[Literal["defer", "tag"], Meta(description="mail that an engine could not scan now (down, late, broken): 451, or accepted and marked unscanned")] = "defer"
    unscannable: Annotated[Literal["defer", "quarantine", "tag"], Meta(description="mail that an engine will never scan whole (encrypted, nested too deep, too large): 451 until the sender gives up, held for review, or accepted and marked unscanned")] = "quarantine"
    infected: Annotated[Literal["quarantine", "reject"], Meta(description="mail with a virus")] = "quarantine"
    spam_reject: Annotated[bool, Meta(description="refuse what rspamd would reject; false = quarantine it")] = True
    share_seconds: Annotated[float, Meta(description="antivirus verdicts on equal bytes are shared this long; 0 = never", le=600)] = 600.0
    share_entries: Annotated[int, Meta(description="verdicts kept")] = 10_000
    quarantine_days: Annotated[int, Meta(description="held mail is removed after this", ge=1)] = 30


class Queue(Section, frozen=True, kw_only=True):
    smarthost: Annotated[str, Meta(description="host:port that takes all outgoing mail; empty = MX of the recipient's domain")] = ""
    smarthost_user: Annotated[str, Meta(description="login there")] = ""
    smarthost_tls: Annotated[Literal["opportunistic", "verified"], Meta(description="verified: mail waits unless the smarthost shows a valid certificate for its name; a password is never sent elsewhere without one")] = "opportunistic"
    smarthost_ca_file: Annotated[str, Meta(description="CA certificates for that, relative to the data directory; empty = those of the machine")] = ""
    smarthost_password_file: Annotated[str, Meta(description="its password")] = ""
    workers: Annotated[int, Meta(description="deliveries at the same time", ge=1)] = 20
    per_domain: Annotated[int, Meta(description="of these, to one domain", ge=1)] = 5
    retry_seconds: Annotated[tuple[int, ...], Meta(description="waits between attempts; the last one repeats")] = (60, 300, 900, 1800, 3600, 7200, 14_400)
    delay_notice_seconds: Annotated[int, Meta(description="a delayed DSN goes out after this; 0 = never")] = 14_400
    lifetime_seconds: Annotated[int, Meta(description="bounced after this (RFC 5321 §4.5.4.1: 4-5 days)")] = 5 * 86_400
    lease_seconds: Annotated[int, Meta(description="a worker that gave no sign of life for this long loses its deliveries to another", ge=30)] = 900
    attempt_seconds: Annotated[float, Meta(description="one attempt, all its servers together", ge=1)] = 3600.0
    connect_seconds: Annotated[float, Meta(description="TCP connect")] = 30.0
    command_seconds: Annotated[float, Meta(description="an SMTP command (RFC 5321 §4.5.3.2: 5 minutes)")] = 300.0
    data_seconds: Annotated[float, Meta(description="the answer to the final dot (RFC 5321 §4.5.3.2.6: 10 minutes)")] = 600.0
    port: Annotated[int, Meta(description="port of other mail servers; 25 but for tests")] = 25
    tls: Annotated[Literal["opportunistic", "never"], Meta(description="TLS towards other mail servers")] = "opportunistic"


class Engines(Section, frozen=True, kw_only=True):
    """The engines that `govmail up` runs as its children; ports are on 127.0.0.1."""

    slapd_port: Annotated[int, Meta(description="slapd; 0 = not run")] = 0
    rspamd_port: Annotated[int, Meta(description="rspamd; 0 = not run")] = 0
    clamd_port: Annotated[int, Meta(description="clamd; 0 = not run")] = 0


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    hostname: Annotated[str, Meta(description="our name in greetings, trace headers and Authentication-Results")] = "localhost"
    user: Annotated[str, Meta(description="system user that a server started as root becomes")] = "govmail"
    language: Annotated[Literal["zh", "en"], Meta(description="of texts to users: bounces, notices")] = "zh"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="what is logged")] = "info"
    readers: Annotated[int, Meta(description="processes that read messages, besides one for very large ones; 0: one less than there are cores", ge=0, le=64)] = 0
    limits: Limits = field(default_factory=Limits)
    tls: Tls = field(default_factory=Tls)
    store: Store = field(default_factory=Store)
    directory: DirectoryTable = field(default_factory=DirectoryTable)
    filters: Filters = field(default_factory=Filters)
    queue: Queue = field(default_factory=Queue)
    engines: Engines = field(default_factory=Engines)
    listener: tuple[Listener, ...] = ()
    filter: tuple[FilterTable, ...] = ()
    issuer: tuple[Issuer, ...] = ()


def load(path: Path) -> Config:
    """The configuration in `path`. Raises BadConfig that names file, key and reason."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadConfig(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"{path}: {error}") from error
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise BadConfig(f"{path}: {error}") from error
    problem = find_problem(config)
    if problem:
        raise BadConfig(f"{path}: {problem}")
    return config


def find_problem(config: Config) -> str | None:
    """What one field cannot see alone: `key: reason`, or None when all is well."""
    seen: set[str] = set()
    for index, listener in enumerate(config.listener):
        where = f"listener[{index}] ({listener.name})"
        if listener.name in seen:
            return f"{where}.name: used twice"
        seen.add(listener.name)
        try:
            address = ipaddress.ip_address(listener.host)
        except ValueError:
            return f"{where}.host: {listener.host!r} is not an IP address"
        if listener.allow_plain_login and not address.is_loopback:
            return f"{where}.allow_plain_login: only on loopback addresses"
        if listener.client_crl_file and not listener.client_ca_file:
            return f"{where}.client_crl_file: needs client_ca_file"
        if listener.client_ca_file and listener.tls == "none":
            return f"{where}.client_ca_file: needs tls"
    if len({trusted.issuer for trusted in config.issuer}) < len(config.issuer):
        return "issuer.issuer: used twice"
    for index, trusted in enumerate(config.issuer):
        problem = _issuer_problem(trusted)
        if problem:
            return f"issuer[{index}] ({trusted.issuer}).{problem}"
    if 0 < config.directory.scram_iterations < 4096:
        return "directory.scram_iterations: 0, or 4096 and more (RFC 7677 §4)"
    for index, one in enumerate(config.filter):
        if not one.url.startswith(("http://", "https://") if one.kind == "rspamd" else ("tcp://", "unix://")):
            return f"filter[{index}] ({one.name}).url: {one.url!r} is not an address of {one.kind}"
    if config.queue.smarthost_tls == "verified" and config.queue.tls == "never":
        return "queue.smarthost_tls: \"verified\" contradicts queue.tls = \"never\""
    if config.directory.kind == "ldap" and not (config.directory.url and config.directory.base):
        return "directory: kind = \"ldap\" needs url and base"
    return None


def _issuer_problem(issuer: Issuer) -> str | None:
    if not (issuer.issuer and issuer.audience and issuer.claim):
        return "issuer, audience, claim: must not be empty"
    if bool(issuer.jwks_file) == bool(issuer.jwks_url):
        return "jwks_file, jwks_url: one of them"
    url = urlsplit(issuer.jwks_url)
    if issuer.jwks_url and url.scheme != "https" and not (url.scheme == "http" and url.hostname in ("127.0.0.1", "::1")):
        return "jwks_url: https; http on loopback only"
    return None


def read_secret(path: Path) -> str:
    """The secret in a file, without its line end. Raises BadConfig when it is missing or open to others."""
    try:
        if path.stat().st_mode & 0o077:
            raise BadConfig(f"{path}: readable by others (mode {path.stat().st_mode & 0o777:04o}); chmod 600 it")
        return path.read_text("utf-8").rstrip("\n")
    except OSError as error:
        raise BadConfig(f"{path}: {os.strerror(error.errno or 0)}") from error
