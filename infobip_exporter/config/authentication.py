"""How an account authenticates and is reached, spelled as in Prometheus' http_config."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from infobip_exporter.config import rules
from infobip_exporter.config.schema import Account, Authorization, BasicAuth, OAuth2, TlsConfig
from infobip_exporter.config.tree import Value
from infobip_exporter.model.secret import Secret

KINDS = ("api_key", "api_key_file", "basic_auth", "oauth2", "authorization")
"""The ways to authenticate, of which an account has one."""

_OWN_PARAMETERS = {"client_id", "client_secret", "grant_type", "scope"}

Readers = Mapping[str, Callable[[Value], object]]


def check_one(section: Value, given: Mapping[str, Value], keys: Iterable[str], what: str) -> None:
    """Note where not exactly one of `keys` is given; `what` says what each of them is."""
    found = [key for key in keys if key in given]
    if not found:
        section.wrong(f"has no {what}; give one of {', '.join(keys)}")
    elif len(found) > 1:
        section.wrong(f"has more than one {what}: {', '.join(found)}; keep one")


def check_proxy(account: Value, given: Mapping[str, Value], *, from_environment: bool | None) -> None:
    """Note what of the proxy's keys can't stand together."""
    if "proxy_url" in given and from_environment:
        account.wrong("has proxy_url and proxy_from_environment: true; keep one")
    if "no_proxy" in given and "proxy_url" not in given:
        account.wrong("has no_proxy without proxy_url; the environment has NO_PROXY")


def read_basic_auth(section: Value, folder: Path) -> BasicAuth | None:
    read = _read(
        section,
        {
            "username": lambda value: value.checked(rules.username),
            "password": lambda value: value.checked(rules.password),
            "password_file": lambda value: value.checked(rules.file_in(folder)),
        },
        needs=["username"],
        one_of=["password", "password_file"],
    )
    return None if read is None else BasicAuth(**read)


def read_oauth2(section: Value, folder: Path) -> OAuth2 | None:
    read = _read(
        section,
        {
            "client_id": lambda value: value.checked(rules.client_id),
            "client_secret": lambda value: value.checked(rules.password),
            "client_secret_file": lambda value: value.checked(rules.file_in(folder)),
            "token_url": lambda value: value.checked(rules.token_url),
            "scopes": _scopes,
            "endpoint_params": _endpoint_params,
        },
        needs=["client_id"],
        one_of=["client_secret", "client_secret_file"],
    )
    return None if read is None else OAuth2(**read)


def read_authorization(section: Value, folder: Path) -> Authorization | None:
    read = _read(
        section,
        {
            "type": lambda value: value.checked(rules.authorization_type),
            "credentials": lambda value: value.checked(rules.token),
            "credentials_file": lambda value: value.checked(rules.file_in(folder)),
        },
        one_of=["credentials", "credentials_file"],
    )
    return None if read is None else Authorization(**read)


def read_tls_config(section: Value, folder: Path) -> TlsConfig | None:
    read = _read(
        section,
        {
            "ca_file": lambda value: value.checked(rules.file_in(folder)),
            "cert_file": lambda value: value.checked(rules.file_in(folder)),
            "key_file": lambda value: value.checked(rules.file_in(folder)),
            "server_name": lambda value: value.checked(rules.server_name),
            "min_version": lambda value: value.checked(rules.tls_version),
            "insecure_skip_verify": lambda value: value.checked(rules.boolean),
        },
        together=["cert_file", "key_file"],
    )
    return None if read is None else TlsConfig(**read)


def secrets_of(account: Account) -> list[Secret]:
    """The secrets that the configuration holds itself, those in files left out."""
    given = [account.api_key, account.proxy_url]
    if account.proxy_url:
        given.append(rules.password_in(account.proxy_url))
    if account.basic_auth:
        given.append(account.basic_auth.password)
    if account.oauth2:
        given += [account.oauth2.client_secret, *account.oauth2.endpoint_params.values()]
    if account.authorization:
        given.append(account.authorization.credentials)
    return [secret for secret in given if secret]


def _read(
    section: Value,
    readers: Readers,
    *,
    needs: Iterable[str] = (),
    one_of: list[str] | None = None,
    together: Iterable[str] = (),
) -> dict[str, Any] | None:
    """What `readers` make of the section's keys; None, with the problems noted, where anything is wrong."""
    given = section.members(list(readers))
    if not section.is_mapping:
        if section.empty:
            section.wrong("has no value", show=False)
        return None
    read = {key: readers[key](value) for key, value in given.items()}
    missing = [key for key in needs if key not in given]
    if any(key in given for key in together):
        missing += [key for key in together if key not in given]
    for key in missing:
        section.wrong(f"has no {key}")
    if one_of:
        check_one(section, given, one_of, "secret")
    sound = not missing and (one_of is None or sum(key in given for key in one_of) == 1)
    return read if sound and None not in read.values() else None


def _scopes(scopes: Value) -> tuple[str, ...] | None:
    read = [each.checked(rules.scope) for each in scopes.items() or ()]
    return None if None in read else tuple(scope for scope in read if scope)


def _endpoint_params(section: Value) -> Mapping[str, Secret] | None:
    given = section.entries(rules.PARAMETER, "parameters of the token request")
    for name in _OWN_PARAMETERS & given.keys():
        given[name].wrong("is set by the exporter; leave it out", show=False)
    read = {name: value.checked(rules.password) for name, value in given.items()}
    return None if None in read.values() else {name: secret for name, secret in read.items() if secret}
