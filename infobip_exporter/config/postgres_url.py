"""URLs of PostgreSQL, as libpq reads them: the password apart from the rest."""

from urllib.parse import parse_qsl, unquote, urlencode

from infobip_exporter.config.problems import Unshown
from infobip_exporter.model.secret import Secret


def is_postgres(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))


def checked(url: str) -> str:
    """`url`, which libpq can read. Raises Unshown: there may be a password in it."""
    import psycopg  # noqa: PLC0415 - slow to import, and of use here alone
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        known = conninfo_to_dict(url)
    except psycopg.Error as error:
        # What libpq says of other mistakes repeats parts of the URL.
        is_harmless = str(error).startswith("invalid URI query parameter")
        what = f" ({error})".replace("\n", "") if is_harmless else ""
        raise Unshown(
            f"must be a PostgreSQL URL, such as postgresql://user@host:5432/database?sslmode=verify-full{what}"
        ) from None
    if "sslpassword" in known:
        raise Unshown("must hold no sslpassword: use a client key without one, readable for this user alone")
    return url


def split_password(url: str) -> tuple[str, Secret | None]:
    """The URL without its password, and the password. Several hosts may be named, so that urllib can't read it all."""
    scheme, _, rest = url.partition("://")
    before, question, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    user_info, at, hosts = authority.rpartition("@")
    user, _, encoded = user_info.partition(":")
    password = unquote(encoded)
    parameters = parse_qsl(query, keep_blank_values=True)
    password = next((value for name, value in parameters if name == "password"), password)
    others = [(name, value) for name, value in parameters if name != "password"]
    clean = f"{scheme}://{user}{at}{hosts}{slash}{path}{question}{urlencode(others, safe='/:,@')}"
    return clean.removesuffix("?"), Secret(password) if password else None
