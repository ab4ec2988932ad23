"""Answers of the log as JSON texts: what Python's own `json` would write, and much that it never would."""

import json

from hypothesis import strategies as st

NAMES = (
    "messageId sentAt doneAt messageCount sender status error price platform groupName pricePerMessage currency "
    "entityId applicationId results cursor nextCursor"
).split()

numbers = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [
            *"-0 0.0 -0.0 0e999999999 1e400 1e-400 1E+15 1e16 1e-50 1e-51 1e999999999 1e-999999999 "
            "1e99999999999999999999 -1e-99999999999999999999 2147483648 2147483649 9223372036854775808 "
            "18446744073709551616 1.0 2.50 NaN Infinity -Infinity 01 1. .5 +1 0x10 1_000 --1 1e".split(),
            '"Infinity"',
            '"NaN"',
            '"sNaN"',
            '"1_0"',
            '"1e9"',
        ]
    ),
    st.builds("{}{}.{}{}".format, st.sampled_from(["", "-"]), st.just("1"), st.just("0"), st.just("1" * 400)),
    st.integers(1, 6000).map(lambda length: "9" * length),
    st.builds("{}e{}".format, st.integers(0, 10**20), st.integers(-70, 30)),
)

STRANGE_TEXTS = [
    r"\ud83d",
    r"\udc00\ud83d",
    r"\ud83d\ude00",
    r"\u0000",
    r"\n",
    r"\r\n",
    r"\"",
    r"\\",
    r"\x41",
    r"\u12",
    r"\u00e9",
    "é",
    "\u2028",
    "\x7f",
    "\x01",
    "\t",
    "\ufeff",
    "\ufffe",
    "ß",
    "ŉ",
    "İ",
    "{}=,",
    "a" * 3000,
    "-" * 50,
    "__other__",
    "NaN",
    "sNaN",
    "-Infinity",
    " 1 ",
    "1_0",
    "٣",
    "1e9",
    "+1",
    "PENDING",
    "Client errors",
]
strings = st.one_of(
    st.text(max_size=12).map(json.dumps),
    st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.lists(st.sampled_from(STRANGE_TEXTS), max_size=3).map(lambda parts: '"' + "".join(parts) + '"'),
)

# From a thousand levels on Python's own reading gives up; on the way there, whatever else walks the value.
nested = st.builds(
    lambda opened, depth, closed: opened[0] * depth + closed + opened[1] * depth,
    st.sampled_from([("[", "]"), ('{"a":', "}"), ('[{"messageId":', "}]")]),
    st.integers(1, 40) | st.integers(300, 1100),
    st.sampled_from(["1", "null", '"x"', "NaN", ""]),
)

scalars = (
    st.sampled_from(["null", "true", "false", "{}", "[]", "[null]", "undefined", ""]) | numbers | strings
)


def _collections(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(st.sampled_from(NAMES) | st.text(max_size=4), values)
    return st.lists(values, max_size=3).map(lambda items: f"[{','.join(items)}]") | st.lists(
        members, max_size=4
    ).map(of_members)


def of_members(members: list[tuple[str, str]]) -> str:
    """An object with `members` in this order, the same name as often as it comes."""
    return "{" + ",".join(f"{json.dumps(name)}: {value}" for name, value in members) + "}"


values = st.one_of(scalars, st.recursive(scalars, _collections, max_leaves=8), nested)

# --- moments ---

moment_texts = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(
        "2023-02-01 0001-01-01 9999-12-31 0000-01-01 10000-01-01 -0001-01-01 2024-02-29 2023-02-29 20230201 "
        "2023-W05-3 2023-032 1969-12-31".split()
    ),
    st.sampled_from(["T", " ", "t", "_", "", "é", "TT"]),
    st.sampled_from(
        ["23:15:03", "00:00:00", "23:59:59", "24:00:00", "23:59:60", "231503", "23:15", "23", ""]
    ),
    st.sampled_from(["", ".3", ".379", ",379", ".379999999999", ".", ". 1", ".+1"]),
    st.sampled_from(
        "+0000 -0000 Z z +00:00 +01 -03 +0530 +05:45 -12:00 +14:00 +23:59 -23:59 +24:00 +01:00:30 +010030.5 "
        "UTC +1 + +25:00 +9900 []".split()
    )
    | st.just(""),
)
moments = st.just('"2023-02-01T23:15:03.379+0000"') | moment_texts.map(json.dumps)

# --- rows ---


def _object_of(**members: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """An object in which each of `members` may be missing, of any value, or there twice."""
    each = [
        st.one_of(
            good.map(lambda value, name=name: [(name, value)]),
            good.map(lambda value, name=name: [(name, value)]),
            st.just([]),
            values.map(lambda value, name=name: [(name, value)]),
            st.tuples(good, values).map(lambda two, name=name: [(name, two[0]), (name, two[1])]),
        )
        for name, good in members.items()
    ]
    return st.tuples(*each).flatmap(
        lambda parts: st.permutations([member for part in parts for member in part]).map(of_members)
    )


_groups = _object_of(
    groupName=st.sampled_from(
        ['"DELIVERED"', '"PENDING"', '"ACCEPTED"', '"OK"', '"brand-new"', '"Client errors"']
    )
)
rows = _object_of(
    messageId=st.sampled_from(['"a"', '"b"', '"c"']) | strings,
    sentAt=moments,
    doneAt=moments,
    messageCount=st.sampled_from(["1", "0", "2147483648"]) | numbers,
    sender=strings,
    status=_groups,
    error=_groups,
    price=_object_of(pricePerMessage=st.just("0.00787679") | numbers, currency=st.just('"EUR"') | strings),
    platform=_object_of(entityId=strings, applicationId=strings),
    content=values,
)
pages = st.builds(
    '{}{{"results": [{}]{}}}{}'.format,
    st.sampled_from(["", "", "", "\ufeff", " ", "\n"]),
    st.lists(st.one_of(rows, rows, values), max_size=4).map(",".join),
    st.sampled_from(["", "", ', "cursor": {"limit": 1000, "nextCursor": "c"}'])
    | values.map(', "cursor": {}'.format)
    | values.map(', "results": {}'.format),
    st.sampled_from(["", "", "", " ", "x", "]", "\0"]),
)
"""Some are JSON, some are nearly."""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _garble(body: bytes, at: int, noise: bytes, cut: int) -> bytes:
    at %= len(body) + 1
    return body[:at] + noise + body[at + cut :]


bodies = st.one_of(
    pages.map(_encoded),
    st.builds(
        _garble,
        pages.map(_encoded),
        st.integers(0, 2000),
        st.binary(max_size=3)
        | st.sampled_from([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b'"', b"{", b"}", b"\\", b","]),
        st.integers(0, 3) | st.just(10_000),
    ),
    pages.flatmap(
        lambda text: st.sampled_from(["utf-16", "utf-32", "latin-1"]).map(
            lambda code: text.encode(code, "replace")
        )
    ),
)
