"""The accounts of a configuration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infobip_exporter.config import rules
from infobip_exporter.config.authentication import (
    KINDS,
    check_one,
    check_proxy,
    read_authorization,
    read_basic_auth,
    read_oauth2,
    read_tls_config,
)
from infobip_exporter.config.problems import Problems
from infobip_exporter.config.schema import Account
from infobip_exporter.config.tree import Value
from infobip_exporter.model.channels import MAX_LIST_LENGTH


def read_accounts(accounts: Value | None, problems: Problems, folder: Path) -> tuple[Account, ...]:
    """The sound accounts; what is wrong with the others is noted. Relative paths start at `folder`."""
    if accounts is None:
        problems.add("accounts", "is missing; it lists at least one account, see config.example.yaml")
        return ()
    values = accounts.items()
    if values == []:
        accounts.wrong("must list at least one account")
    names: set[str] = set()
    read = [_account(value, names, folder) for value in values or ()]
    return tuple(account for account in read if account)


def _account(account: Value, names: set[str], folder: Path) -> Account | None:
    """The account, if it is sound. `names` are those of the accounts before; this one's is added."""
    readers: dict[str, Callable[[Value], object]] = {
        "name": lambda value: value.checked(rules.account_name),
        "base_url": lambda value: value.checked(rules.base_url),
        "api_key": lambda value: value.checked(rules.api_key),
        "api_key_file": lambda value: value.checked(rules.file_in(folder)),
        "basic_auth": lambda value: read_basic_auth(value, folder),
        "oauth2": lambda value: read_oauth2(value, folder),
        "authorization": lambda value: read_authorization(value, folder),
        "proxy_url": lambda value: value.checked(rules.proxy_url),
        "no_proxy": lambda value: value.checked(rules.no_proxy),
        "proxy_from_environment": lambda value: value.checked(rules.boolean),
        "tls_config": lambda value: read_tls_config(value, folder),
        "channels": _channels,
        "requests_per_minute": lambda value: value.checked(rules.whole(1, 6000)),
        "filters": _filters,
    }
    given = account.members(list(readers))
    if account.empty:
        account.wrong("has no value", show=False)
    if not account.is_mapping:
        return None
    read: dict[str, Any] = {key: readers[key](value) for key, value in given.items()}
    if "name" not in given:
        account.wrong("has no name; it becomes the label `account`, such as main")
    if "base_url" not in given:
        account.wrong("has no base_url; it is the account's own, such as https://xxxxx.api.infobip.com")
    check_one(account, given, KINDS, "way to authenticate")
    check_proxy(account, given, from_environment=read.get("proxy_from_environment"))
    name = read.get("name")
    if name in names:
        given["name"].wrong("is the name of an account before, too; names are unique")
    if name is not None:
        names.add(name)
    return Account(**read) if {"name", "base_url"} <= read.keys() and None not in read.values() else None


def _channels(channels: Value) -> tuple[str, ...]:
    read: list[str] = []
    values = channels.items()
    if values == []:
        channels.wrong("must list at least one, or be left out for instagram")
    for value in values or ():
        channel = value.checked(rules.channel)
        if channel in read:
            value.wrong("is listed twice")
        elif channel:
            read.append(channel)
    return tuple(read)


def _filters(filters: Value) -> Mapping[str, str]:
    given = filters.members(list(rules.FILTERS))
    read = {name: _filter(name, value) for name, value in given.items()}
    return {name: text for name, text in read.items() if text}


def _filter(name: str, value: Value) -> str | None:
    """A filter's text; some may be several values, which the API takes separated by commas."""
    if not (name in rules.LIST_FILTERS and value.is_list):
        return value.checked(rules.filter_value)
    # Each takes a character at least: a list that is too long by that is not read.
    items = value.items() if value.length <= MAX_LIST_LENGTH else None
    texts = [item.checked(rules.filter_value) for item in items or ()]
    joined = ",".join(text for text in texts if text)
    if not texts or len(joined) > MAX_LIST_LENGTH:
        value.wrong(f"must list at least one, in {MAX_LIST_LENGTH} characters with the commas")
    return joined
