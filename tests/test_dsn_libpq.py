# SPDX-License-Identifier: MIT
"""Connection strings and the environment as libpq reads them, by psycopg.

What differs on purpose, always named in `ConnectionString.ambiguous` (and refused by the strict profile):

- a scheme in capitals, blanks before the scheme, tabs and line breaks inside: taken as asyncpg does;
- "+" in a query is a blank, "=" may stand in a query value, blanks inside are kept, "%" without two digits is itself;
- a fragment is cut off; "@" after "?" is no end of user and password;
- of a parameter given before and after the question mark, the former counts;
- an empty query value is none; an unknown query key is a server setting; `database` is `dbname`;
- `servicefile`, which libpq knows from version 19 on.

Refused here, though libpq takes it: bytes that are not UTF-8, names of query keys that are no words, a bare "@" in a
host (after a password that holds one). Resolution
differs thus: an address from the environment is not applied to a host that was named elsewhere, an empty item in a
list of ports means PGPORT, and GSSAPI encryption is off.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastpg._conninfo import PARAMETERS, ConnectionString, parse_connection_string
from fastpg.dsn import parse
from fastpg.exceptions import ClientConfigurationError
from fastpg.security import Secret

pq = pytest.importorskip("psycopg.pq")


def by_libpq(text: str) -> dict[str, str] | None:
    try:
        options = pq.Conninfo.parse(text.encode())
    except Exception as exc:
        assert type(exc).__name__ == "OperationalError"
        return None
    return {
        item.keyword.decode(): item.val.decode("utf-8", "surrogateescape") for item in options if item.val is not None
    }


def ours(text: str) -> ConnectionString | None:
    try:
        return parse_connection_string(text)
    except ClientConfigurationError:
        return None


def check(text: str) -> bool:
    """Compare, and tell whether the string was one that both must read alike."""
    found, expected = ours(text), by_libpq(text)
    if found is None:
        if expected is not None:
            assert any(mark in text for mark in ("%", "@", "#", " ")), (text, expected)
        return expected is None
    if found.ambiguous:
        return False
    assert not found.settings
    assert found.values == expected, text
    return True


EXAMPLES = (
    """
postgresql://|postgresql://h?|postgresql://h?a|postgresql://?host=b&host=c|postgresql://u:@h|postgresql://:p@h
postgresql://h:/d|postgresql://h:5/d/e|postgresql://[::1]:5/d|postgresql://[fe80::1%25eth0]/d|postgresql://[::1]x
postgresql://[]|postgresql://a,b:2,:3/d|postgresql://%2Ftmp/d|postgresql://h/d?%75ser=x
postgresql://h/d?user=a%00b|postgresql://h/d?&user=x|postgresql://h/d?user=x&|postgresql://h/d?ssl=true
postgresql://h/d?ssl=false|postgresql://h/d?requiressl=1|postgres://h|postgresql://u%40x@h|postgresql://@h
postgresql://,|postgresql://h?host|postgresql://h/?|postgresql://h/d?user=x?y|postgresql://u:p/w@h/d
postgresql://[::1/d|postgresql://h,[::1]:3,x/d|postgresql://:5|postgresql://a,b/?port=1,2|postgresql://u:p:q@h
host=a port=1|host = 'a b'  port= 1|host=a\\ b|host='a\\'b'|host='a|host=a'b'|host=|host= port=1|foo=1|=a|host=''
host=a host=b|host=a\\|host='a\\|host==a|host='a'port=1|requiressl=1|requiressl=0|ho st=a|host\\=a|'host'=a|ssl=true
""".strip()
    .replace("\n", "|")
    .split("|")
)


@pytest.mark.parametrize("text", ["", "  ", "host\n=\na", "host=a\tport=3", "host=a\x0bport=1", *EXAMPLES])
def test_examples_are_read_alike(text: str) -> None:
    assert check(text)


@pytest.mark.parametrize(
    "text",
    [
        "POSTGRES://h", "postgresql://h?user=x+y", "postgresql://h?user=a=b", "postgresql://h?user=a b",
        "postgresql://u:%zz@h", "postgresql://h#f", "postgresql://h?user=a@b", "postgresql://h?host=b",
        "postgresql://h?user=", "postgresql://h?foo=1", "postgresql://h?database=x", "postgresql://h\n",
        " postgresql://h", "postgresql://h?servicefile=x", "servicefile=x",
    ],
)  # fmt: skip
def test_differences_are_named(text: str) -> None:
    found = ours(text)
    assert found is not None and found.ambiguous
    assert (found.values | found.settings) != by_libpq(text) or "servicefile" in text


KEYS = [name for name in PARAMETERS if name != "servicefile"]
WORDS = st.text("ab1é:/?#@%=&,+[] '\\._-\t\n", max_size=6)
PIECES = st.sampled_from([
    "a", "b1", ":", "/", "?", "&", "=", "@", ",", "[::1]", "[", "]", "%20", "%2F", "%zz", "%", "+", "#", " ",
    "host=", "user=x", "port=1", "password=", "dbname=d", "sslmode=require", "foo=1", "é", "\\", "'",
])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["postgresql://", "postgres://"]), st.lists(PIECES, max_size=12))
def test_random_uris(scheme: str, pieces: list[str]) -> None:
    check(scheme + "".join(pieces))


SAFE = st.text("abé19._~-", min_size=1, max_size=5)
QUERY_KEYS = [name for name in KEYS if name not in ("user", "password", "dbname", "host", "port")]
ENCODED = st.text("abc%/?:@é &=+#,'", min_size=1, max_size=6).map(
    lambda text: "".join(f"%{byte:02X}" if chr(byte) not in "abc" else chr(byte) for byte in text.encode())
)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.none(), SAFE, ENCODED),
    st.one_of(st.none(), SAFE, ENCODED),
    st.lists(st.tuples(st.one_of(SAFE, ENCODED, st.just("[::1]")), st.sampled_from(["", ":", ":1"])), max_size=3),
    st.one_of(st.none(), SAFE, ENCODED),
    st.dictionaries(st.sampled_from(QUERY_KEYS), st.one_of(SAFE, ENCODED), max_size=3),
)
def test_well_formed_uris(
    user: str | None, password: str | None, hosts: list[tuple[str, str]], name: str | None, query: dict[str, str]
) -> None:
    text = "postgresql://"
    if user is not None or password is not None:
        text += (user or "") + (":" + password if password is not None else "") + "@"
    text += ",".join(host + port for host, port in hosts)
    text += "/" + name if name is not None else ""
    text += "?" + "&".join(f"{key}={value}" for key, value in query.items()) if query else ""
    assert check(text), text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(PIECES, st.sampled_from(KEYS), st.sampled_from(list("='\\ \t\n\v\f\r"))), max_size=12))
def test_random_key_values(pieces: list[str]) -> None:
    text = "host=" + "".join(pieces)
    assert check(text), text


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), WORDS, max_size=5))
def test_quoted_values_survive(values: dict[str, str]) -> None:
    def quote(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    text = " ".join(f"{key}={quote(value)}" for key, value in values.items())
    found = parse_connection_string(text)
    assert found.values == values == by_libpq(text)


def test_the_table_is_libpqs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    theirs = {
        item.keyword.decode(): item.envvar.decode() if item.envvar else None for item in pq.Conninfo.get_defaults()
    }
    for name, variable in theirs.items():
        assert PARAMETERS[name] == variable, name
    newer = set(PARAMETERS) - set(theirs) - {"requirepeer", "gsslib", "krbsrvname", "gssdelegation"}
    if pq.version() >= 180000:
        assert newer <= {"servicefile"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.sampled_from(["h", "i", "*", "1", "2", "d", "u", "\\:", "\\\\", "\\*", "x", "é"]), min_size=1, max_size=2
        ).map("".join),
        min_size=5,
        max_size=12,
    ),
    st.sampled_from([":", ":", "\n", "::"]),
)
def test_password_files(tmp_path: Path, fields: list[str], last: str) -> None:
    path = tmp_path / "pass"
    lines = [":".join(fields[start : start + 5]) for start in range(0, len(fields), 5)]
    path.write_text("\n".join([*lines, f"localhost:*:d:u{last}end"]))
    path.chmod(0o600)
    for host in ("h", "i", "*", "localhost"):
        connection = pq.PGconn.connect_start(
            f"host='{host}' hostaddr=127.0.0.1 port=1 user=u dbname=d passfile={path}".encode()
        )
        expected = connection.password
        (target,) = parse(host=host, hostaddr="127.0.0.1", port=1, user="u", database="d", passfile=str(path)).targets
        found = target.password.reveal() if isinstance(target.password, Secret) else None
        assert (found or "") == (expected or b"").decode(), (path.read_text(), host)
        connection.finish()
