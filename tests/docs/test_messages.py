"""What the program can print is in docs/when-things-go-wrong.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from infobip_exporter.infobip import oauth2
from infobip_exporter.infobip.answer import InvalidBody, decode_page
from infobip_exporter.infobip.credentials import api_key, authorization, basic_auth, fixed
from infobip_exporter.infobip.refusal import _HINTS
from infobip_exporter.ledger import postgres_errors
from infobip_exporter.ledger.sqlite_file import _ADVICE
from infobip_exporter.model.secret import Secret
from tests.docs.pages import DOCS, REPOSITORY

PAGE = DOCS / "when-things-go-wrong.md"
PACKAGE = REPOSITORY / "infobip_exporter"
LOGGED = {"warning", "error", "exception"}


def first_words(node: ast.expr) -> str | None:
    """The text that an argument begins with, up to its first value that is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
        return str(node.values[0].value)
    return None


def said_by(path: Path, names: set[str], argument: int) -> Iterator[str]:
    """The texts given to calls of `names` in a module, as that argument."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and len(node.args) > argument:
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in names and (text := first_words(node.args[argument])):
                yield text


def modules(*folders: str) -> list[Path]:
    """Those of the exporter, without the sandbox."""
    found = [path for folder in folders or ("",) for path in (PACKAGE / folder).rglob("*.py")]
    return [path for path in found if "sandbox" not in path.parts]


def is_told(text: str) -> bool:
    """Whether the page has the text, or what it says before the first mark of punctuation or value."""
    page = " ".join(PAGE.read_text().split())
    short = re.split(r"[;:,(]", text, maxsplit=1)[0].strip()
    return len(short) > 5 and short in page


def test_what_to_do_about_the_state_is_told() -> None:
    told = PAGE.read_text()
    assert [advice for advice in _ADVICE.values() if advice not in told] == []
    of_postgres = [re.split(r"[:;,]", advice)[0] for advice in postgres_errors._ADVICE.values()]
    assert [advice for advice in of_postgres if advice not in told] == []


def test_every_hint_about_a_refusal_is_told() -> None:
    assert [hint for hint in _HINTS.values() if hint.split(",")[0] not in PAGE.read_text()] == []


def test_what_a_refusal_means_is_told_for_every_way_to_authenticate() -> None:
    given = fixed(Secret("x"))
    kinds = (api_key(given), basic_auth("u", given), authorization("IBSSO", given), authorization("X", given))
    hints = [*(kind.refusal for kind in kinds), oauth2.OAuth2Credentials.refusal, *oauth2._HINTS.values()]
    assert [hint for hint in hints if f"`{hint}`" not in PAGE.read_text()] == []


def test_every_warning_and_error_in_the_log_is_told() -> None:
    said = [text for path in modules() for text in said_by(path, LOGGED, 0) if " " in text]
    assert len(said) >= 5
    assert [text for text in said if not is_told(text)] == []


def test_every_way_an_answer_can_be_unusable_is_told() -> None:
    said = [
        text
        for path in modules("infobip", "reading")
        for text in said_by(path, {"InvalidBody", "BoundsIgnored"}, 0)
    ]
    assert len(said) >= 3
    assert [text for text in said if not is_told(text)] == []


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"results": [', b"{}", b"null"])
def test_every_body_that_is_no_page_is_told(body: bytes) -> None:
    with pytest.raises(InvalidBody) as refused:
        decode_page(body)
    assert f"`{refused.value}`" in PAGE.read_text()


@pytest.mark.parametrize(("method", "argument"), [("wrong", 0), ("add", 1)])
def test_every_mistake_in_a_configuration_is_told(method: str, argument: int) -> None:
    said = [text for path in modules("config", "web") for text in said_by(path, {method}, argument)]
    assert len(said) >= 5
    assert [text for text in said if not is_told(text)] == []
