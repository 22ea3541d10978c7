"""The reference configuration says everything, and what it says is so."""

import re
from pathlib import Path

import msgspec

from govmail.config import Config, Section, load
from govmail.reference import reference

SHIPPED = Path(__file__).parents[2] / "deploy" / "govmail.toml"


def test_the_shipped_file_is_current() -> None:
    assert SHIPPED.read_text("utf-8") == reference(), "run: python -m govmail.reference > deploy/govmail.toml"


def test_with_its_defaults_switched_on_it_is_the_default(tmp_path: Path) -> None:
    text, _, _ = reference().partition("#[[listener]]")
    path = tmp_path / "govmail.toml"
    path.write_text(re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE), "utf-8")
    assert load(path) == Config()


def test_every_setting_has_a_description() -> None:
    for section in (Config, *Section.__subclasses__()):
        if section is Section:
            continue
        for name, field in msgspec.json.schema(section)["$defs"][section.__name__]["properties"].items():
            assert "description" in field or "$ref" in str(field) or section is Config, f"{section.__name__}.{name}"
