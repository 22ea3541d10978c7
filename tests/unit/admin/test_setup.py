"""The data directory at first use."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from admin import setup
from govmail import config, datadir
from govmail.errors import BadInput


def modes(directory: Path) -> dict[str, int]:
    return {str(one.relative_to(directory)): one.stat().st_mode & 0o777 for one in directory.rglob("*")}


def test_everything_that_a_server_needs_is_made_once(tmp_path: Path) -> None:
    data = tmp_path / "var"
    made = setup.prepare(data)
    assert "govmail.toml" in made
    assert "tls/cert.pem" in made
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert setup.prepare(data) == []
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_nothing_can_be_read_by_others(tmp_path: Path) -> None:
    data = tmp_path / "var"
    setup.prepare(data)
    assert [name for name, mode in modes(data).items() if mode & 0o077] == []


def test_the_configuration_holds_and_listens_on_the_standard_ports_plus_offset(tmp_path: Path) -> None:
    setup.prepare(tmp_path, port_offset=3000)
    loaded = config.load(datadir.config_file(tmp_path))
    assert {one.name: one.port for one in loaded.listener} == {
        "smtp": 3025, "submission": 3587, "submissions": 3465, "imap": 3143, "imaps": 3993,
    }  # fmt: skip
    assert (loaded.engines.rspamd_port, loaded.engines.clamd_port) == (3333, 3310)
    assert [one.name for one in loaded.filter] == ["rspamd", "clamav"]


def test_without_engines_none_is_configured(tmp_path: Path) -> None:
    setup.prepare(tmp_path, engines=False)
    loaded = config.load(datadir.config_file(tmp_path))
    assert loaded.filter == ()
    assert loaded.engines.rspamd_port == 0


@pytest.mark.parametrize("offset", [-1, 65_000])
def test_ports_outside_the_range_are_refused_before_anything_is_made(tmp_path: Path, offset: int) -> None:
    data = tmp_path / "var"
    with pytest.raises(BadInput, match="port offset"):
        setup.prepare(data, port_offset=offset)
    assert not data.exists()


def test_what_the_operator_changed_stays(tmp_path: Path) -> None:
    setup.prepare(tmp_path)
    datadir.config_file(tmp_path).write_text('hostname = "mail.jx.example"\n')
    setup.prepare(tmp_path)
    assert config.load(datadir.config_file(tmp_path)).hostname == "mail.jx.example"


def test_the_certificate_is_for_the_host_and_the_loopback_and_can_be_served(tmp_path: Path) -> None:
    now = datetime(2026, 5, 4, tzinfo=UTC)
    setup.prepare(tmp_path, hostname="mail.jx.example", now=now)
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls" / "cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.jx.example", "localhost"]
    assert 390 < (certificate.not_valid_after_utc - now).days <= 398
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tmp_path / "tls" / "cert.pem", tmp_path / "tls" / "key.pem")


def test_a_secret_is_made_once_and_refused_when_others_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "doctor"
    first = setup.secret(path)
    assert len(first) >= 32
    assert setup.secret(path) == first
    path.chmod(0o644)
    with pytest.raises(config.BadConfig, match="readable by others"):
        setup.secret(path)
