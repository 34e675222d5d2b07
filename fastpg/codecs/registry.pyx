# SPDX-License-Identifier: MIT
# What is known of types, in three levels: built-in codecs (static, frozen), introspected types of one database
# (knowledge.py: shared between connections, OIDs and names only), and the overlay of one connection (user codecs, its
# options and client encoding, and all that derives from them). May import: wire, codec, array, range, composite, json,
# options, text, textform, user, knowledge, exceptions.

from functools import partial

from libc.stdint cimport uint32_t

from fastpg.codecs.array cimport any_array_of, array_of
from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, CODEC_BOUNDED, CODEC_ZERO_BASED, FORMAT_BINARY, FORMAT_TEXT, KIND_ARRAY, KIND_COMPOSITE, KIND_JSON,
    KIND_JSONB, KIND_MULTIRANGE, KIND_PYTHON, KIND_RANGE, KIND_RECORD, KIND_TEXT, Codec, CodecHandle, builtin,
    register,
)
from fastpg.codecs.composite cimport Members, composite_of, record_of
from fastpg.codecs.json cimport json_text
from fastpg.codecs.options cimport CodecOptions
from fastpg.codecs.range cimport multirange_of, range_of
from fastpg.codecs.text cimport encoded_decode, encoded_encode, text_decode, text_encode
from fastpg.codecs.textform cimport alias_of, resolve, scalar_in_text
from fastpg.codecs.user cimport base_of, builtin_codec, over_base, user_codec, user_in_text

from fastpg._encodings import python_encoding
from fastpg.codecs._oids import ARRAYS, NAMES, RANGES
from fastpg.codecs.hstore import HSTORE, hstore_from_binary, hstore_to_binary
from fastpg.codecs.knowledge import TypeKnowledge
from fastpg.exceptions import InterfaceError, UnsupportedClientFeatureError

cdef enum:
    MAX_DEPTH = 64              # of types within types: the server's answers may be cyclic
    ANYARRAY = 2277

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


# --------------------------------------------------------------------- text form

cdef CodecHandle in_text(CodecHandle handle):
    """The codec of a type in its text form, for a container that can only travel as text."""
    cdef CodecHandle origin = resolve(handle)
    cdef CodecHandle twin = None
    cdef Members members
    cdef int kind = origin.codec.kind
    if handle.codec.format == FORMAT_TEXT:
        return handle
    if kind == KIND_ARRAY and origin.codec.element != NULL and not origin.codec.flags & CODEC_ZERO_BASED:
        twin = array_of(origin.codec.oid, origin.name, in_text(element_of(origin)), chr(origin.codec.delimiter),
                        origin.codec.flags & CODEC_BOUNDED)
    elif kind == KIND_RANGE:
        twin = range_of(origin.codec.oid, origin.name, in_text(element_of(origin)))
    elif kind == KIND_MULTIRANGE:
        twin = multirange_of(origin.codec.oid, origin.name, in_text(element_of(origin)))
    elif kind == KIND_COMPOSITE:
        members = <Members>origin.codec.extra
        twin = composite_of(origin.codec.oid, origin.name, members.names,
                            tuple([in_text(member) for member in members.handles]), members.make, members.schema)
    elif kind == KIND_PYTHON:
        base = base_of(origin)
        if base is not None and (<CodecHandle>base).codec.kind == KIND_COMPOSITE:
            twin = over_base(origin, in_text(base))
        else:
            twin = user_in_text(origin)
    elif origin.codec.oid == ANYARRAY:
        # The text does not say of what it is an array: it stays a str.
        twin = CodecHandle.derive(ANYARRAY, origin.name, KIND_TEXT, FORMAT_TEXT, -1, CODEC_ATOMIC, text_decode,
                                  text_encode, None, None, ())
    elif kind != KIND_RECORD:
        twin = scalar_in_text(origin)
    if twin is None:
        raise UnsupportedClientFeatureError(
            f"type {handle.name!r} cannot be used inside a type that has only a text form: its own text form is not "
            "known", hint="Cast it to text in the query.")
    return alias_of(twin, handle.codec.oid, handle.name) if origin is not handle else twin


cdef CodecHandle element_of(CodecHandle handle):
    # The handle of a container's element: its own, or a static one.
    element = (<tuple>handle.children)[1] if handle.children is not None else None
    return element if element is not None else CodecHandle.borrow(<Codec *>handle.codec.element)


# The prosrc of the functions whose binary form is the text itself.
TEXT_SEND = frozenset(["textsend", "varcharsend", "bpcharsend", "namesend", "enum_send", "unknownsend", "cstring_send"])


cdef class Registry:
    """OID -> codec for one connection.

    make_composite: (attribute names) -> (tuple of values) -> what a composite value becomes; None: the tuple itself.
    options: CodecOptions, or None for the built-in codecs.
    """
    cdef dict overlay           # OID -> CodecHandle: what has been derived
    cdef dict custom            # OID -> (kind, ...): what the user has set, see set_python() and set_alias()
    cdef readonly str encoding  # Python codec when it is not UTF-8
    cdef object known               # TypeKnowledge; None: nothing has been introspected yet
    cdef object make_composite
    cdef CodecOptions options   # None: the built-in codecs
    cdef bint array_bounds

    def __init__(self, knowledge=None, make_composite=None, CodecOptions options=None):
        self.overlay = {}
        self.custom = {}
        self.options = None if options is None or options.changes_nothing else options
        self.array_bounds = options is not None and options.array_bounds
        self.known = knowledge
        self.make_composite = make_composite

    @property
    def knowledge(self):
        """The types that have been introspected; the registry's own until it is told to use() what others share."""
        if self.known is None:
            self.known = TypeKnowledge()
        return self.known

    def lookup(self, oid: int):
        """The codec of a type, or None when nothing is known of it."""
        return self.find(oid, 0)

    def lookup_or_text(self, oid: int):
        """The codec of a type; one that gives the text form as str when nothing is known of it."""
        handle = self.find(oid, 0)
        if handle is None:
            handle = self.text_handle(oid, NAMES.get(oid, f"type {oid}"), FORMAT_TEXT)
            self.overlay[oid] = handle
        return handle

    def of_statement(self, tuple oids not None, tuple columns):
        """The codecs of parameters and columns, by lookup_or_text(); None where one of those is missing()."""
        cdef tuple column
        cdef bint known = True
        wanted = list(oids)
        if columns is not None:
            for column in columns:
                wanted.append(column[3])
        for oid in wanted:
            if builtin(oid) == NULL and oid not in self.overlay:
                known = False
        if not known and self.missing(wanted):
            return None
        count = len(oids)
        handles = [self.lookup_or_text(oid) for oid in wanted]
        return tuple(handles[:count]), tuple(handles[count:])

    def in_text(self, CodecHandle handle not None):
        """The codec of the same type in its text form. Raises UnsupportedClientFeatureError where it has none."""
        return in_text(handle)

    def lookup_builtin(self, oid: int):
        """The built-in codec of a type in the client encoding, whatever the user has set for it."""
        cdef const Codec *codec = builtin(oid)
        if codec == NULL:
            raise LookupError(f"no built-in codec for OID {oid}")
        plain = Registry(self.knowledge)
        (<Registry>plain).encoding = self.encoding
        return (<Registry>plain).find(oid, 0)

    cdef object find(self, uint32_t oid, int depth):
        cdef const Codec *codec
        if self.overlay:
            handle = self.overlay.get(oid)
            if handle is not None:
                return handle
        if depth > MAX_DEPTH:
            raise InterfaceError(f"type with OID {oid} is nested more than {MAX_DEPTH} levels deep")
        if oid in self.custom:
            handle = self.customized(oid, depth)
        else:
            handle = self.uncustomized(oid, depth)
            codec = builtin(oid)
            if codec != NULL and handle is not None and (<CodecHandle>handle).codec == codec:
                return handle
        if handle is not None:
            self.overlay[oid] = handle
        return handle

    cdef object uncustomized(self, uint32_t oid, int depth):
        cdef const Codec *codec = builtin(oid)
        if codec == NULL:
            return self.introspected(oid, depth)
        if self.options is not None:
            handle = self.options.find(oid, self.encoding)
            if handle is not None:
                return handle
        elif self.encoding is None and not self.custom and not by_lookup(codec):
            return CodecHandle.borrow(<Codec *>codec)
        return self.rebuilt(codec, depth)

    cdef CodecHandle text_handle(self, uint32_t oid, str name, int format):
        if self.encoding is not None:
            return CodecHandle.derive(oid, name, KIND_TEXT, format, -1, CODEC_ATOMIC, encoded_decode, encoded_encode,
                                      None, self.encoding, ())
        return CodecHandle.derive(oid, name, KIND_TEXT, format, -1, CODEC_ATOMIC, text_decode, text_encode, None, None,
                                  ())

    cdef object rebuilt(self, const Codec *codec, int depth):
        # A built-in codec as this connection has it: its encoding, its own records, its user's elements.
        cdef CodecHandle element
        cdef uint32_t oid = codec.oid
        if oid == ANYARRAY:
            return any_array_of(self.lookup, self.array_bounds)
        if codec.kind == KIND_RECORD:
            return record_of(self.lookup)
        if self.encoding is not None and (codec.kind == KIND_JSON or codec.kind == KIND_JSONB):
            return json_text(codec, self.encoding)
        if self.encoding is not None and codec.kind == KIND_TEXT:
            return CodecHandle.derive(oid, codec.name.decode(), KIND_TEXT, codec.format, -1, CODEC_ATOMIC,
                                      encoded_decode, encoded_encode, None, self.encoding, ())
        if codec.element != NULL and not codec.flags & CODEC_ZERO_BASED:
            element = self.find(codec.element.oid, depth + 1)
            if codec.kind == KIND_ARRAY and (element.codec != codec.element or self.array_bounds):
                return array_of(oid, codec.name.decode(), element, chr(codec.delimiter), self.array_bounds)
            if element.codec != codec.element:
                if codec.kind == KIND_RANGE:
                    return range_of(oid, codec.name.decode(), element)
                if codec.kind == KIND_MULTIRANGE:
                    return multirange_of(oid, codec.name.decode(), element)
        return CodecHandle.borrow(<Codec *>codec)

    cdef object introspected(self, uint32_t oid, int depth):
        cdef CodecHandle element
        info = self.knowledge.get(oid)
        if info is None:
            return None
        if info.kind == "enum" or info.kind == "scalar":
            # What the server sends as its text may be asked for in binary: then it can be part of anything.
            return self.text_handle(oid, info.name, FORMAT_BINARY if info.send in TEXT_SEND else FORMAT_TEXT)
        if info.kind == "composite":
            members = []
            text = False
            for _, member in info.attributes:
                element = self.find(member, depth + 1)
                if element is None:
                    return None
                text = text or element.codec.format == FORMAT_TEXT
                members.append(element)
            if text:
                members = [in_text(handle) for handle in members]
            names = tuple([name for name, _ in info.attributes])
            make = self.make_composite(names) if self.make_composite is not None else None
            return composite_of(oid, info.name, names, tuple(members), make, info.schema)
        element = self.find(info.element, depth + 1)
        if element is None:
            return None
        if info.kind == "array":
            return array_of(oid, info.name, element, info.delimiter, self.array_bounds)
        if info.kind == "range":
            return range_of(oid, info.name, element)
        if info.kind == "multirange":
            return multirange_of(oid, info.name, element)
        return alias_of(element, oid, info.name)        # a domain: its base type

    # -------------------------------------------------------------- the user's

    def set_python(self, oid: int, name: str, encoder, decoder, format: str) -> None:
        """A user's codec for a type. format: text, binary or tuple. A function that is None: the type's own codec.

        InterfaceError when the type has no tuples, or no codec of its own in this format where one is needed.
        """
        self.with_functions(oid, name, encoder, decoder, format, 0)
        self.custom[oid] = ("python", name, encoder, decoder, format)
        self.overlay.clear()

    def set_alias(self, oid: int, name: str, codec_name: str, format) -> None:
        """The codec of another type, by name. format: text, binary or None for either.

        InterfaceError when there is none of that name and format.
        """
        target = ALIASES.get(codec_name, codec_name)
        if target != HSTORE:
            found = builtin_named(target)
            if found is None or format is not None and format not in formats_of(found):
                raise InterfaceError(f"cannot alias {name} to {codec_name}: there is no {format or 'text'} codec for "
                                     f"{codec_name}")
            target = found.oid
        self.custom[oid] = ("alias", name, target)
        self.overlay.clear()

    def reset(self, oid: int) -> None:
        """The type's own codec again."""
        self.custom.pop(oid, None)
        self.overlay.clear()

    cdef object with_functions(self, uint32_t oid, str name, encoder, decoder, str format, int depth):
        base = self.uncustomized(oid, depth)
        own = None
        if (encoder is None or decoder is None) and base is not None:
            if format == "text":
                try:
                    own = in_text(base)
                except UnsupportedClientFeatureError:
                    pass
            elif format == "tuple" or (<CodecHandle>base).codec.format == FORMAT_BINARY:
                own = base
        return user_codec(oid, name, encoder, decoder, format, base, self.encoding, own)

    cdef object customized(self, uint32_t oid, int depth):
        spec = self.custom[oid]
        if spec[0] == "python":
            return self.with_functions(oid, spec[1], spec[2], spec[3], spec[4], depth)
        if spec[2] == HSTORE:
            encoding = self.encoding or "utf-8"
            return user_codec(oid, spec[1], partial(hstore_to_binary, encoding=encoding),
                              partial(hstore_from_binary, encoding=encoding), "binary", None, None)
        # The user's functions for the other type count, an alias of it does not: it may lead back here.
        target = self.custom.get(spec[2])
        if target is not None and target[0] == "python":
            return builtin_codec(oid, spec[1], self.find(spec[2], depth + 1))
        return builtin_codec(oid, spec[1], self.uncustomized(spec[2], depth + 1))

    # ----------------------------------------------------------------- knowledge

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

    def use(self, knowledge) -> None:
        """Go by this knowledge from here on."""
        if knowledge is not self.known:
            self.known = knowledge
            self.overlay.clear()

    def describe(self, oid: int) -> tuple:
        """(name, kind, schema) of a type for its users: a domain is its base type, an array the name of its element
        with brackets. kind: scalar, array, composite, range or multirange.
        """
        cdef const Codec *codec = builtin(oid)
        info = self.knowledge.get(oid)
        if info is not None:
            if info.kind == "domain":
                return self.describe(info.element)
            if info.kind == "array":
                return f"{self.describe_element(info.element)}[]", "array", info.schema
            return info.name, "scalar" if info.kind == "enum" else info.kind, info.schema
        if codec == NULL:
            return NAMES.get(oid, f"type {oid}"), "scalar", "pg_catalog" if oid < 16384 else "public"
        if codec.kind == KIND_ARRAY and codec.flags & CODEC_ZERO_BASED:
            return f"{codec.name.decode()}[]", "array", "pg_catalog"     # as asyncpg has it
        if codec.kind == KIND_ARRAY:
            return f"{codec.element.name.decode()}[]", "array", "pg_catalog"
        return codec.name.decode(), KIND_NAMES.get(codec.kind, "scalar"), "pg_catalog"

    def describe_element(self, oid: int) -> str:
        """The name of an array's element: a domain keeps its own."""
        info = self.knowledge.get(oid)
        return info.name if info is not None else self.describe(oid)[0]

    def set_encoding(self, name: str) -> None:
        """Text in another client_encoding goes through Python's codecs."""
        self.encoding = python_encoding(name)
        self.overlay.clear()

    def clear(self) -> None:
        """Forget what has been derived; what the user has set stays."""
        self.overlay.clear()


KIND_NAMES = {KIND_RANGE: "range", KIND_MULTIRANGE: "multirange", KIND_COMPOSITE: "composite"}
# SQL's names of types beside their own, and a short name of a built-in codec.
ALIASES = {"int": "int4", "integer": "int4", "smallint": "int2", "bigint": "int8", "real": "float4", "float": "float8",
           "double precision": "float8", "decimal": "numeric", "boolean": "bool", "bit varying": "varbit",
           "character": "bpchar", "character varying": "varchar", "timestamp without time zone": "timestamp",
           "timestamp with time zone": "timestamptz", "time without time zone": "time",
           "time with time zone": "timetz", "lsn": "pg_lsn", "hstore": HSTORE}


cdef object builtin_named(str name):
    for oid, known in NAMES.items():
        if known == name and builtin(oid) != NULL and builtin(oid).element == NULL and oid != ANYARRAY:
            return CodecHandle.borrow(<Codec *>builtin(oid))
    return None


cdef tuple formats_of(CodecHandle handle):
    if handle.codec.kind == KIND_TEXT or handle.codec.kind == KIND_JSON:
        return ("text", "binary") if handle.codec.format == FORMAT_BINARY else ("text",)
    return ("binary",)


cdef bint by_lookup(const Codec *codec) noexcept:
    # Records and anyarray name their types in the datum: each connection looks them up by itself.
    return codec.kind == KIND_RECORD or codec.oid == ANYARRAY or (
        codec.element != NULL and codec.element.kind == KIND_RECORD)
