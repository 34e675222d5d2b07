# SPDX-License-Identifier: MIT
"""Python's codecs for PostgreSQL's client encodings."""

from __future__ import annotations

import codecs

# PostgreSQL's names for encodings whose Python name is another (manual, "Character Set Support").
ENCODINGS: dict[str, str] = {
    "abc": "cp1258", "alt": "cp866", "big5": "big5", "euc_cn": "gb2312", "euc_jp": "euc_jp", "euc_jis_2004":
    "euc_jis_2004", "euc_kr": "euc_kr", "gb18030": "gb18030", "gbk": "gbk", "iso_8859_5": "iso8859-5",
    "iso_8859_6": "iso8859-6", "iso_8859_7": "iso8859-7", "iso_8859_8": "iso8859-8", "johab": "johab", "koi8": "koi8-r",
    "koi8r": "koi8-r", "koi8u": "koi8-u", "latin1": "iso8859-1", "latin2": "iso8859-2", "latin3": "iso8859-3",
    "latin4": "iso8859-4", "latin5": "iso8859-9", "latin6": "iso8859-10", "latin7": "iso8859-13",
    "latin8": "iso8859-14", "latin9": "iso8859-15", "latin10": "iso8859-16", "mskanji": "cp932", "shift_jis_2004":
    "shift_jis_2004", "shiftjis": "cp932", "sjis": "cp932", "sql_ascii": "ascii", "tcvn": "cp1258", "tcvn5712":
    "cp1258", "uhc": "cp949", "vscii": "cp1258", "win": "cp1251", "win1250": "cp1250", "win1251": "cp1251",
    "win1252": "cp1252", "win1253": "cp1253", "win1254": "cp1254", "win1255": "cp1255", "win1256": "cp1256",
    "win1257": "cp1257", "win1258": "cp1258", "win866": "cp866", "win874": "cp874", "win932": "cp932",
    "win936": "gbk", "win949": "cp949", "win950": "cp950", "windows866": "cp866", "windows874": "cp874",
    "windows932": "cp932", "windows936": "gbk", "windows949": "cp949", "windows950": "cp950", "windows1250": "cp1250",
    "windows1251": "cp1251", "windows1252": "cp1252", "windows1253": "cp1253", "windows1254": "cp1254",
    "windows1255": "cp1255", "windows1256": "cp1256", "windows1257": "cp1257", "windows1258": "cp1258",
}  # fmt: skip
#: Without conversion: the text is what the database holds, which is UTF-8 or, when it is not, an error.
UNCONVERTED = ("UTF8", "UTF-8", "UNICODE", "SQL_ASCII")


def python_encoding(name: str) -> str | None:
    """Python's codec for a client_encoding; None for UTF-8.

    For an encoding that Python does not know (EUC_TW, MULE_INTERNAL) it is ``ascii``, which all encodings of clients
    have in common: other text is then refused.
    """
    if name.upper() in UNCONVERTED:
        return None
    try:
        return codecs.lookup(ENCODINGS.get(name.lower().replace("-", "_"), name)).name
    except LookupError:
        return "ascii"
