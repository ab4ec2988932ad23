"""How an account's logs are asked: with its credentials, TLS and proxy, which its channels share."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

import httpx

from infobip_exporter.config import rules
from infobip_exporter.config.schema import Account, OAuth2
from infobip_exporter.infobip import credentials
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.credentials import Credentials, source_of
from infobip_exporter.infobip.http import Http
from infobip_exporter.infobip.network import NetworkTransport
from infobip_exporter.infobip.oauth2 import TOKEN_PATH, OAuth2Credentials
from infobip_exporter.infobip.proxy import proxy_of
from infobip_exporter.infobip.tls import Tls
from infobip_exporter.model.channels import LOG_PATHS
from infobip_exporter.model.labels import read_on_request


class Access:
    """Opens clients for the channels of `account`. `timeout_s` is for a whole request.

    Raises ConfigError for a proxy or certificates that can't be used.
    """

    def __init__(self, account: Account, timeout_s: float) -> None:
        self._account = account
        self._timeout_s = timeout_s
        self._tls: Tls | None = None
        self._unspeakable = [secret.reveal() for secret in account.secrets]
        self._transport(account.base_url)  # what can't be used is told at once
        self._credentials = self._credentials_of(account)

    def serves(self, account: Account, timeout_s: float) -> bool:
        """Whether `account` is asked in the same way."""
        return _shared_part(account) == _shared_part(self._account) and timeout_s == self._timeout_s

    def client(self, channel: str, filters: Mapping[str, str], labels: Iterable[str] = ()) -> Client:
        """One for a channel's log; `labels` are the names of those that are counted by."""
        base_url = self._account.base_url
        return Client(
            base_url,
            LOG_PATHS[channel],
            self._credentials,
            filters,
            self._timeout_s,
            self._transport(base_url),
            labels=read_on_request(labels, channel),
            unspeakable=self._unspeakable,
        )

    def _transport(self, url: str) -> NetworkTransport:
        account, target = self._account, httpx.URL(url)
        proxy = proxy_of(account, target)
        secure = target.scheme == "https" or (proxy is not None and proxy.url.scheme == "https")
        if secure and self._tls is None:
            self._tls = Tls(account.tls_config)
        own_host = target.host == httpx.URL(account.base_url).host
        server_name = account.tls_config.server_name if own_host else ""
        return NetworkTransport(target, self._tls if secure else None, proxy, server_name=server_name)

    def _credentials_of(self, account: Account) -> Credentials:
        if account.basic_auth:
            basic = account.basic_auth
            source = source_of(basic.password, basic.password_file, "password_file", rules.password)
            return credentials.basic_auth(basic.username, source)
        if account.authorization:
            given = account.authorization
            source = source_of(given.credentials, given.credentials_file, "credentials_file", rules.token)
            return credentials.authorization(given.type, source)
        if account.oauth2:
            return self._oauth2(account.oauth2)
        return credentials.api_key(
            source_of(account.api_key, account.api_key_file, "api_key_file", rules.api_key)
        )

    def _oauth2(self, oauth2: OAuth2) -> OAuth2Credentials:
        url = oauth2.token_url or self._account.base_url + TOKEN_PATH
        return OAuth2Credentials(
            oauth2.client_id,
            source_of(oauth2.client_secret, oauth2.client_secret_file, "client_secret_file", rules.password),
            url,
            partial(Http, self._transport(url), self._timeout_s),
            scopes=oauth2.scopes,
            endpoint_params=oauth2.endpoint_params,
        )


def _shared_part(account: Account) -> Account:
    """What does not differ between an account's channels."""
    return replace(account, channels=(), filters={}, requests_per_minute=0)
