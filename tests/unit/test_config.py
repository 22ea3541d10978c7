"""A configuration is whole and valid, or the error names file, key and reason."""

from pathlib import Path

import pytest

from govmail.config import BadConfig, Config, load, read_secret


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "govmail.toml"
    path.write_text(text, "utf-8")
    return path


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")) == Config()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("hostnam = 'x'", "hostnam"),
        ("[limits]\nmessage_octets = 'many'", "message_octets"),
        ("[limits]\nmessage_octets = 3", "message_octets"),
        ("[[listener]]\nname = 'a'\nprotocol = 'pop5'\nport = 1", "protocol"),
        ("[[listener]]\nname = 'a'\nprotocol = 'imap'\nport = 70000", "port"),
        ("[[listener]]\nname = 'a'\nprotocol = 'imap'\nport = 1\n[[listener]]\nname = 'a'\nprotocol = 'imap'\nport = 2", "used twice"),
        ("[[listener]]\nname = 'a'\nprotocol = 'imap'\nport = 1\nhost = '0.0.0.0'\nallow_plain_login = true", "allow_plain_login"),
        ("[[filter]]\nname = 'r'\nkind = 'rspamd'\nurl = 'ftp://x'", "filter[0]"),
        ("[directory]\nkind = 'ldap'", "directory"),
        ("[directory]\nscram_iterations = 1000", "scram_iterations"),
        ("[[listener]]\nname = 'a'\nprotocol = 'imap'\nport = 1\nclient_crl_file = 'x'", "client_crl_file"),
        ("[[listener]]\nname = 'a'\nprotocol = 'imap'\nport = 1\ntls = 'none'\nclient_ca_file = 'x'", "client_ca_file"),
        ("[[issuer]]\nissuer = 'i'\naudience = 'a'", "jwks_file"),
        ("[[issuer]]\nissuer = 'i'\naudience = 'a'\njwks_file = 'k'\njwks_url = 'https://i.example/k'", "jwks_file"),
        ("[[issuer]]\nissuer = 'i'\naudience = ''\njwks_file = 'k'", "audience"),
        ("[[issuer]]\nissuer = 'i'\naudience = 'a'\njwks_url = 'http://i.example/k'", "issuer[0] (i).jwks_url"),
        ("[[issuer]]\nissuer = 'i'\naudience = 'a'\njwks_file = 'k'\n" * 2, "used twice"),
        ("x = = 1", "govmail.toml"),
    ],
)
def test_an_error_names_the_key(tmp_path: Path, text: str, named: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadConfig) as caught:
        load(path)
    assert named in caught.value.public
    assert str(path) in caught.value.public


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no such file"):
        load(tmp_path / "none.toml")


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter\n")
    path.chmod(0o644)
    with pytest.raises(BadConfig, match="readable by others"):
        read_secret(path)
    path.chmod(0o600)
    assert read_secret(path) == "hunter"
