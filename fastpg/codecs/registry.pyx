# SPDX-License-Identifier: MIT
# What is known of types, in three levels: built-in codecs (static, frozen), introspected types of one database
# (shared between connections, OIDs and names only), and the overlay of one connection (user codecs, its client
# encoding, and all that derives from them). May import: wire, codec, array, range, composite, exceptions.

import codecs as python_codecs
import threading

from libc.stdint cimport uint32_t

from fastpg.codecs.array cimport array_of
from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, CODEC_ZERO_BASED, FORMAT_BINARY, FORMAT_TEXT, KIND_ARRAY, KIND_JSON, KIND_TEXT, Codec,
    CodecHandle, builtin, register,
)
from fastpg.codecs.composite cimport composite_of, record_of
from fastpg.codecs.range cimport multirange_of, range_of
from fastpg.codecs.text cimport text_decode, text_encode
from fastpg.wire cimport Out, out_value

from fastpg.codecs._oids import ARRAYS, NAMES, RANGES
from fastpg.exceptions import InterfaceError, UnrepresentableValueError

cdef enum:
    MAX_DEPTH = 64              # of types within types: the server's answers may be cyclic

# Handles of the static containers: they live as long as the process.
cdef list _keep = []


cdef int _register_static(CodecHandle handle) except -1:
    register(handle.codec)
    _keep.append(handle)
    return 0


def build_static_containers() -> None:
    """Array, range, multirange and record codecs over every registered built-in. Called once, at import."""
    cdef CodecHandle bound
    cdef CodecHandle ranged
    for oid, (subtype, multirange) in RANGES.items():
        if builtin(subtype) == NULL:
            continue
        bound = CodecHandle.borrow(<Codec *>builtin(subtype))
        ranged = range_of(oid, NAMES[oid], bound)
        _register_static(ranged)
        _register_static(multirange_of(multirange, NAMES[multirange], ranged))
    _register_static(record_of(None))
    for oid, element, name in ((22, 21, "int2vector"), (30, 26, "oidvector")):
        vector = array_of(oid, name, CodecHandle.borrow(<Codec *>builtin(element)), ",")
        (<CodecHandle>vector).codec.flags |= CODEC_ZERO_BASED
        _register_static(vector)
    for oid, (element, delimiter) in ARRAYS.items():
        if builtin(element) != NULL and builtin(oid) == NULL:
            _register_static(array_of(oid, NAMES.get(oid, f"array of {element}"),
                                      CodecHandle.borrow(<Codec *>builtin(element)), delimiter))


# ------------------------------------------------------------ level 2: shared

class TypeInfo:
    """One introspected type. kind: scalar, array, composite, range, multirange, domain or enum."""

    __slots__ = ("attributes", "delimiter", "element", "has_binary", "kind", "name", "oid", "schema")

    def __init__(self, oid, name, schema, kind, element=0, attributes=(), delimiter=",", has_binary=True):
        self.oid = oid
        self.name = name
        self.schema = schema
        self.kind = kind
        self.element = element              # element, range bound, range of a multirange, or base type
        self.attributes = attributes        # ((name, OID), ...) of a composite
        self.delimiter = delimiter
        self.has_binary = has_binary


class TypeKnowledge:
    """Introspected types of one database, for all its connections and threads. epoch grows with each reload."""

    def __init__(self):
        self._lock = threading.Lock()
        self._types = {}
        self.epoch = 0

    def get(self, oid):
        """The TypeInfo of an OID, or None."""
        return self._types.get(oid)

    def add(self, types) -> None:
        """Add what was introspected."""
        with self._lock:
            self._types = {**self._types, **{info.oid: info for info in types}}

    def reload(self) -> None:
        """Forget everything: the schema has changed."""
        with self._lock:
            self._types = {}
            self.epoch += 1


_knowledge_lock = threading.Lock()
_knowledge = {}


def knowledge_for(key) -> TypeKnowledge:
    """The shared knowledge of (server identity, database)."""
    with _knowledge_lock:
        if key not in _knowledge:
            _knowledge[key] = TypeKnowledge()
        return _knowledge[key]


# ------------------------------------------------------ level 3: a connection

# PostgreSQL's names for encodings whose Python name is another (manual, "Character Set Support").
ENCODINGS = {
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
    "win936": "gbk", "win949": "cp949", "win950": "cp950", "windows949": "cp949", "windows950": "cp950",
}


def python_encoding(name: str) -> str:
    """Python's codec for a client_encoding; InterfaceError when there is none."""
    try:
        return python_codecs.lookup(ENCODINGS.get(name.lower().replace("-", "_"), name)).name
    except LookupError:
        raise InterfaceError(f"client_encoding {name!r} has no codec in Python: SET client_encoding TO 'UTF8'") from None


cdef object encoded_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef object encoding = <object>self.extra
    try:
        return p[:n].decode(encoding)
    except UnicodeDecodeError as error:
        raise UnrepresentableValueError(f"value of type {self.name.decode()}: {error}") from error


cdef int encoded_encode(const Codec *self, Out *out, object value) except -1:
    cdef bytes data
    cdef const char *p
    if not isinstance(value, str):
        raise TypeError(f"expected str, got {type(value).__name__}")
    data = value.encode(<object>self.extra)
    p = data
    return out_value(out, p, len(data))


cdef class Registry:
    """OID -> codec for one connection."""
    cdef dict overlay           # OID -> CodecHandle, before the built-ins
    cdef str encoding           # Python codec when it is not UTF-8
    cdef readonly object knowledge
    cdef object make_composite  # (names) -> (values) -> the value

    def __init__(self, knowledge=None, make_composite=None):
        self.overlay = {}
        self.knowledge = TypeKnowledge() if knowledge is None else knowledge
        self.make_composite = make_composite

    def lookup(self, oid: int):
        """The codec of a type, or None when nothing is known of it."""
        return self.find(oid, 0)

    def lookup_or_text(self, oid: int):
        """The codec of a type; one that gives the text form as str when nothing is known of it."""
        handle = self.find(oid, 0)
        if handle is None:
            handle = self.text_handle(oid, NAMES.get(oid, f"type {oid}"))
            self.overlay[oid] = handle
        return handle

    cdef object find(self, uint32_t oid, int depth):
        cdef const Codec *codec
        if self.overlay:
            handle = self.overlay.get(oid)
            if handle is not None:
                return handle
        codec = builtin(oid)
        if codec != NULL and self.encoding is None:
            return CodecHandle.borrow(<Codec *>codec)
        if depth > MAX_DEPTH:
            raise InterfaceError(f"type with OID {oid} is nested more than {MAX_DEPTH} levels deep")
        handle = self.in_encoding(oid, codec, depth) if codec != NULL else self.introspected(oid, depth)
        if handle is not None:
            self.overlay[oid] = handle
        return handle

    cdef CodecHandle text_handle(self, uint32_t oid, str name):
        if self.encoding is not None:
            return CodecHandle.derive(oid, name, KIND_TEXT, FORMAT_TEXT, -1, CODEC_ATOMIC, encoded_decode, encoded_encode,
                                      None, self.encoding, ())
        return CodecHandle.derive(oid, name, KIND_TEXT, FORMAT_TEXT, -1, CODEC_ATOMIC, text_decode, text_encode, None,
                                  None, ())

    cdef object in_encoding(self, uint32_t oid, const Codec *codec, int depth):
        cdef CodecHandle element
        if codec.kind == KIND_TEXT or codec.kind == KIND_JSON:
            return CodecHandle.derive(oid, codec.name.decode(), KIND_TEXT, codec.format, -1, CODEC_ATOMIC,
                                      encoded_decode, encoded_encode, None, self.encoding, ())
        if codec.kind == KIND_ARRAY and not codec.flags & CODEC_ZERO_BASED:
            element = self.find(codec.element.oid, depth + 1)
            if element.codec != codec.element:
                return array_of(oid, codec.name.decode(), element, chr(codec.delimiter))
        return CodecHandle.borrow(<Codec *>codec)

    cdef object introspected(self, uint32_t oid, int depth):
        cdef CodecHandle element
        if oid == 2249:
            return record_of(self.lookup)
        info = self.knowledge.get(oid)
        if info is None:
            return None
        if info.kind == "enum" or info.kind == "scalar":
            return self.text_handle(oid, info.name)
        if info.kind == "composite":
            members = []
            for _, member in info.attributes:
                element = self.find(member, depth + 1)
                if element is None:
                    return None
                members.append(element)
            names = tuple([name for name, _ in info.attributes])
            make = self.make_composite(names) if self.make_composite is not None else None
            return composite_of(oid, info.name, names, tuple(members), make)
        element = self.find(info.element, depth + 1)
        if element is None:
            return None
        if info.kind == "array":
            return array_of(oid, info.name, element, info.delimiter)
        if info.kind == "range":
            return range_of(oid, info.name, element)
        if info.kind == "multirange":
            return multirange_of(oid, info.name, element)
        return element          # a domain is its base type

    def missing(self, oids) -> list:
        """Those OIDs, and the members of what is known, of which nothing is known."""
        seen = set()
        result = []
        pending = list(oids)
        while pending:
            oid = pending.pop()
            if oid in seen or oid in self.overlay or builtin(oid) != NULL:
                continue
            seen.add(oid)
            info = self.knowledge.get(oid)
            if info is None:
                result.append(oid)
            else:
                pending += [member for _, member in info.attributes]
                if info.element:
                    pending.append(info.element)
        return result

    def add_types(self, types) -> None:
        """What introspection has found, for all connections to this database."""
        self.knowledge.add(types)

    def set_encoding(self, name: str) -> None:
        """Text in another client_encoding goes through Python's codecs."""
        if name.upper() in ("UTF8", "UTF-8", "UNICODE"):
            self.encoding = None
        else:
            self.encoding = python_encoding(name)
        self.overlay.clear()

    def clear(self) -> None:
        """Forget what has been derived."""
        self.overlay.clear()
