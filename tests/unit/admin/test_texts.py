"""Every text for operators exists in both languages."""

from __future__ import annotations

import re
import string
from pathlib import Path

import click
import pytest

from admin.cli.main import cli
from admin.texts import CATALOGUE, locale_language, say, speaking

HAN = re.compile(r"[\u4e00-\u9fff]")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(CATALOGUE))
def test_both_languages_say_the_same_things(key: str) -> None:
    zh, en = CATALOGUE[key]
    assert HAN.search(zh) or not re.search("[a-z]{4}", re.sub(r"\{.*?\}", "", zh))
    assert fields(zh) == fields(en)


def test_the_language_belongs_to_the_request() -> None:
    with speaking("zh"):
        assert say("dry_run") == "试运行：未作任何改动"
        with speaking("en"):
            assert say("dry_run") == "dry run: nothing was changed"
        assert say("dry_run") == "试运行：未作任何改动"


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LC_MESSAGES": "zh_TW", "LANG": "en_US"}, "zh"),
        ({}, "en"),
    ],
)
def test_the_locale_chooses(environment: dict[str, str], language: str) -> None:
    assert locale_language(environment) == language


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            found += commands(one, (*path, name))
    return found


@pytest.mark.parametrize(("path", "command"), commands(cli), ids=lambda value: "-".join(value) if isinstance(value, tuple) else "")
def test_every_command_and_option_has_help_in_both_languages(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    assert HAN.search(getattr(command, "zh", ""))
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert HAN.search(getattr(parameter, "zh", "")), parameter.name


@pytest.mark.parametrize(("path", "command"), commands(cli), ids=lambda value: "-".join(value) if isinstance(value, tuple) else "")
def test_help_speaks_the_language(path: tuple[str, ...], command: click.Command) -> None:
    context = command.context_class(command, info_name=" ".join(("govmail", *path)))
    with speaking("zh"):
        page = command.get_help(context)
    assert page.startswith("用法：")
    assert "Show this message" not in page
    with speaking("en"):
        page = command.get_help(context)
    assert page.startswith("Usage: ")
    assert not HAN.search(page.replace("江西省/赣州市/发改委", "").replace("发改", "").replace("政府", ""))


def test_no_text_is_left_over_and_none_is_missing() -> None:
    root = Path(__file__).parents[3]
    files = [path for part in ("admin", "govmail") for path in (root / part).rglob("*.py")]
    said = {key for path in files for key in re.findall(r'\bsay\(\s*"(\w+)"', path.read_text("utf-8"))}
    assert said & set(CATALOGUE) == set(CATALOGUE)
    assert {key for path in (root / "admin").rglob("*.py") for key in re.findall(r'\bsay\(\s*"(\w+)"', path.read_text("utf-8"))} <= set(CATALOGUE)
