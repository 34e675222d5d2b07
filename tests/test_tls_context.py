# SPDX-License-Identifier: MIT
"""TLS contexts for every sslmode, files and their refusals, and channel binding data."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpg.dsn import parse
from fastpg.exceptions import ClientConfigurationError
from fastpg.tls import build_context, server_end_point_hash, server_hostname

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa  # noqa: E402

SHA256 = hashes.SHA256()
RSA_KEY = rsa.generate_private_key(65537, 2048)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "db.example")])
LONG_AGO, FAR_AHEAD = datetime.datetime(2020, 1, 1), datetime.datetime(2049, 1, 1)


def certificate(
    key: Any = RSA_KEY, algorithm: Any = SHA256, issuer: Any = None, name: str = "db.example", **signing: Any
) -> Any:
    """A certificate of `key` signed by `issuer` (itself if None)."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME if issuer is None else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(LONG_AGO)
        .not_valid_after(FAR_AHEAD)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return builder.sign(issuer or key, algorithm, **signing)


def pem(cert: Any) -> bytes:
    data: bytes = cert.public_bytes(serialization.Encoding.PEM)
    return data


def pem_key(key: Any, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    data: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return data


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in list(os.environ):
        if name.startswith("PG") or name in ("FASTPG_SECURITY", "SSLKEYLOGFILE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    directory = tmp_path / ".postgresql"
    directory.mkdir()
    return directory


def write(path: Path, data: bytes, mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def context(**keywords: Any) -> ssl.SSLContext:
    built = build_context(parse(host="db.example", **keywords))
    assert built is not None
    return built


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None) -> ssl.SSLObject:
    """Complete a handshake in memory; the client's failure is raised."""
    c_in, c_out, s_in, s_out = (ssl.MemoryBIO() for _ in range(4))
    ours = client.wrap_bio(c_in, c_out, server_hostname=name)
    theirs = server.wrap_bio(s_in, s_out, server_side=True)
    for _ in range(6):
        for side in (ours, theirs):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            s_in.write(c_out.read())
            c_in.write(s_out.read())
    return ours


def server_context(tmp: Path, cert: Any, key: Any) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(write(tmp / "server.crt", pem(cert)), write(tmp / "server.key", pem_key(key)))
    server.set_alpn_protocols(["postgresql"])
    return server


def test_modes_without_root_certificate() -> None:
    assert build_context(parse(host="h", ssl="disable")) is None
    for mode in ("allow", "prefer", "require"):
        built = context(ssl=mode)
        assert built.verify_mode is ssl.CERT_NONE and not built.check_hostname
        assert built.minimum_version is ssl.TLSVersion.TLSv1_2
    for mode in ("verify-ca", "verify-full"):
        with pytest.raises(ClientConfigurationError, match=r'root certificate file ".*root.crt" does not exist or'):
            context(ssl=mode)
    for mode in ("require", "verify-ca"):
        with pytest.raises(ClientConfigurationError, match='"/missing" does not exist'):
            context(ssl=mode, sslrootcert="/missing")


@pytest.mark.parametrize("place", ["home", "keyword", "environment"])
def test_modes_with_root_certificate(place: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keywords = {}
    path = write(home / "root.crt" if place == "home" else tmp_path / "ca.pem", pem(certificate()))
    if place == "keyword":
        keywords["sslrootcert"] = path
    elif place == "environment":
        monkeypatch.setenv("PGSSLROOTCERT", path)
    for mode in ("require", "verify-ca", "verify-full"):
        built = context(ssl=mode, **keywords)
        assert built.verify_mode is ssl.CERT_REQUIRED and built.check_hostname == (mode == "verify-full")
        assert len(built.get_ca_certs()) == 1
    assert context(ssl="prefer", **keywords).verify_mode is ssl.CERT_NONE


def test_system_roots_and_callers_context() -> None:
    built = context(sslrootcert="system")
    assert built.check_hostname and built.verify_mode is ssl.CERT_REQUIRED
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert context(ssl=own) is own
    assert context(ssl=True).check_hostname


@pytest.mark.parametrize(
    ("mode", "name", "trusted", "accepted"),
    [
        ("require", "other", False, True),
        ("require", "other", True, True),
        ("verify-ca", "other", True, True),
        ("verify-full", "db.example", True, True),
        ("verify-full", "other", True, False),
        ("verify-ca", "db.example", False, False),
    ],
)
def test_handshakes(mode: str, name: str, trusted: bool, accepted: bool, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    server = server_context(tmp_path, certificate(key, issuer=RSA_KEY), key)
    other = ec.generate_private_key(ec.SECP256R1())
    keywords = {}
    if trusted or mode != "require":
        keywords["sslrootcert"] = write(tmp_path / "ca.pem", pem(certificate() if trusted else certificate(other)))
    params = parse(host=name, ssl=mode, **keywords)
    client = build_context(params)
    assert client is not None
    if accepted:
        done = handshake(client, server, server_hostname(params, params.targets[0]))
        assert done.version() is not None and done.selected_alpn_protocol() == "postgresql"
        der = done.getpeercert(binary_form=True)
        assert der is not None and server_end_point_hash(der) == ("sha256", hashlib.sha256(der).digest())
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(client, server, server_hostname(params, params.targets[0]))


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("place", ["file", "home", "directory"])
def test_revocation_lists(revoked: bool, place: str, home: Path, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = certificate(key, issuer=RSA_KEY)
    serial = leaf.serial_number if revoked else 4711
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(LONG_AGO).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(NAME).last_update(LONG_AGO).next_update(FAR_AHEAD)
    data = pem(builder.add_revoked_certificate(entry).sign(RSA_KEY, hashes.SHA256()))
    keywords = {"sslrootcert": write(tmp_path / "ca.pem", pem(certificate()))}
    if place == "file":
        keywords["sslcrl"] = write(tmp_path / "crl.pem", data)
    elif place == "home":
        write(home / "root.crl", data)
    else:
        # OpenSSL finds a list in a directory by the hash of the issuer's name: that of NAME.
        write(home / "x.pem", data)
        (tmp_path / "crls").mkdir()
        try:
            command = ["openssl", "crl", "-hash", "-noout", "-in", str(home / "x.pem")]
            run = subprocess.run(command, capture_output=True, check=True)
        except FileNotFoundError:
            pytest.skip("openssl is not here to name the file")
        write(tmp_path / "crls" / f"{run.stdout.decode().strip()}.r0", data)
        keywords["sslcrldir"] = str(tmp_path / "crls")
    client = context(ssl="verify-full", **keywords)
    assert client.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_CHAIN
    server = server_context(tmp_path, leaf, key)
    if revoked:
        with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
            handshake(client, server, "db.example")
    else:
        handshake(client, server, "db.example")


def test_files_that_cannot_be_loaded(tmp_path: Path) -> None:
    root = write(tmp_path / "ca.pem", pem(certificate()))
    broken = write(tmp_path / "broken", b"x")
    for keywords in (
        {"sslrootcert": broken}, {"sslrootcert": root, "sslcrl": broken}, {"sslrootcert": root, "sslcrl": "/missing"},
        {"sslrootcert": root, "sslcrldir": "/missing"}, {"sslcert": broken}, {"sslcert": "/missing"},
        {"sslkeylogfile": "/missing/x"}, {"sslcertmode": "require"},
    ):  # fmt: skip
        with pytest.raises(ClientConfigurationError):
            context(ssl="require", **keywords)


def test_client_certificate(home: Path, tmp_path: Path) -> None:
    cert, key = pem(certificate()), pem_key(RSA_KEY)
    ours = write(tmp_path / "a.crt", cert, 0o644)
    private = write(tmp_path / "a.key", key)
    context(ssl="prefer", sslcert=ours, sslkey=private)
    context(ssl="prefer", sslcert=write(tmp_path / "both", cert + key))
    with pytest.raises(ClientConfigurationError, match="cannot be loaded"):
        context(ssl="prefer", sslcert=ours, sslkey="/missing")
    with pytest.raises(ClientConfigurationError, match="private key"):
        context(ssl="prefer", sslcert=ours)
    with pytest.raises(ClientConfigurationError, match="not a regular file"):
        context(ssl="prefer", sslcert=ours, sslkey=str(tmp_path))
    context(ssl="prefer", sslcert=ours, sslcertmode="disable")
    write(home / "postgresql.crt", cert, 0o644)
    with pytest.raises(ClientConfigurationError):
        context(ssl="prefer")
    write(home / "postgresql.key", key)
    context(ssl="prefer")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to give files away")
@pytest.mark.parametrize(
    ("owner", "mode", "accepted"),
    [(0, 0o600, True), (0, 0o640, True), (0, 0o660, False), (0, 0o604, False), (0, 0o650, False),
     (1, 0o600, True), (1, 0o400, True), (1, 0o640, False), (1, 0o604, False), (1, 0o700, True)],
)  # fmt: skip
def test_permissions_of_keys(owner: int, mode: int, accepted: bool, tmp_path: Path) -> None:
    cert = write(tmp_path / "a.crt", pem(certificate()), 0o644)
    key = write(tmp_path / "a.key", pem_key(RSA_KEY), mode)
    os.chown(key, owner, 0)
    if accepted:
        context(ssl="require", sslcert=cert, sslkey=key)
    else:
        with pytest.raises(ClientConfigurationError, match="0600"):
            context(ssl="require", sslcert=cert, sslkey=key)


def test_loose_key_of_ones_own(tmp_path: Path) -> None:
    cert = write(tmp_path / "a.crt", pem(certificate()), 0o644)
    with pytest.raises(ClientConfigurationError, match="0600"):
        context(ssl="require", sslcert=cert, sslkey=write(tmp_path / "a.key", pem_key(RSA_KEY), 0o644))


def test_encrypted_key(tmp_path: Path) -> None:
    cert = write(tmp_path / "a.crt", pem(certificate()))
    key = write(tmp_path / "a.key", pem_key(RSA_KEY, b"c4n4ry"))
    context(ssl="require", sslcert=cert, sslkey=key, sslpassword="c4n4ry")
    for wrong in ({}, {"sslpassword": "other-c4n4ry"}):
        with pytest.raises(ClientConfigurationError) as info:
            context(ssl="require", sslcert=cert, sslkey=key, **wrong)
        assert "c4n4ry" not in repr(info.value)


def test_versions_and_key_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = context(ssl="require", ssl_min_protocol_version="TLSv1.3", ssl_max_protocol_version="tlsv1.3")
    assert built.minimum_version is built.maximum_version is ssl.TLSVersion.TLSv1_3
    assert context(ssl="require", sslkeylogfile=str(tmp_path / "log")).keylog_filename == str(tmp_path / "log")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "env"))
    assert context(ssl="require").keylog_filename == str(tmp_path / "env")
    assert context(ssl="require", sslkeylogfile=str(tmp_path / "log")).keylog_filename == str(tmp_path / "log")
    assert parse(host="h", security="strict").sslkeylogfile is None


def test_server_hostname() -> None:
    params = parse(host="db.example.,10.0.0.1", ssl="require")
    assert [server_hostname(params, target) for target in params.targets] == ["db.example", "10.0.0.1"]
    params = parse(host="h", ssl="require", sslsni=0)
    assert server_hostname(params, params.targets[0]) is None
    params = parse(host="h", ssl="verify-full", sslsni="0")
    with pytest.raises(ClientConfigurationError, match="sslsni"):
        server_hostname(params, params.targets[0])


PSS: dict[str, Any] = {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 20)}


@pytest.mark.parametrize(
    ("cert", "name"),
    [
        *((certificate(algorithm=algorithm), name) for algorithm, name in (
            (hashes.SHA224(), "sha224"), (hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"),
            (hashes.SHA512(), "sha512"), (hashes.SHA3_256(), "sha3_256"), (hashes.SHA3_512(), "sha3_512"),
        )),
        *((certificate(algorithm=algorithm, **PSS), name) for algorithm, name in (
            (hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512"),
        )),
        *((certificate(ec.generate_private_key(ec.SECP256R1()), algorithm), name) for algorithm, name in (
            (hashes.SHA224(), "sha224"), (hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"),
            (hashes.SHA512(), "sha512"), (hashes.SHA3_384(), "sha3_384"),
        )),
        (certificate(dsa.generate_private_key(1024), hashes.SHA256()), "sha256"),
    ],
)  # fmt: skip
def test_channel_binding_hash(cert: Any, name: str) -> None:
    der = cert.public_bytes(serialization.Encoding.DER)
    assert cert.signature_hash_algorithm.name.replace("-", "_") == name
    assert server_end_point_hash(der) == (name, hashlib.new(name, der).digest())


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()])
def test_no_channel_binding_hash(key: Any) -> None:
    assert server_end_point_hash(certificate(key, None).public_bytes(serialization.Encoding.DER)) == (None, b"")


def relabel(der: bytes, old: str, new: str) -> bytes:
    """Name another algorithm of signature (of the same size) than was used."""
    assert bytes.fromhex(old) in der
    return der.replace(bytes.fromhex(old), bytes.fromhex(new))


@pytest.mark.parametrize("new", ["2a864886f70d010104", "2a864886f70d010105"])
def test_weak_hashes_become_sha256(new: str) -> None:
    # Libraries of today no longer sign with MD5 or SHA-1, so the label alone is changed.
    der = relabel(certificate().public_bytes(serialization.Encoding.DER), "2a864886f70d01010b", new)
    assert server_end_point_hash(der) == ("sha256", hashlib.sha256(der).digest())


def test_weak_and_unknown_labels() -> None:
    der = certificate(algorithm=hashes.SHA384(), **PSS).public_bytes(serialization.Encoding.DER)
    weak = relabel(der, "608648016503040202", "608648016503040219")  # no such hash
    assert server_end_point_hash(weak) == (None, b"")
    der = relabel(certificate().public_bytes(serialization.Encoding.DER), "2a864886f70d01010b", "2a864886f70d0101ff")
    assert server_end_point_hash(der) == (None, b"")
    # RSASSA-PSS with its parameters left out means SHA-1, hence SHA-256.
    tiny = bytes.fromhex("3012 3000 300b 0609 2a864886f70d01010a 030100")
    assert server_end_point_hash(tiny) == ("sha256", hashlib.sha256(tiny).digest())
    tiny = bytes.fromhex("3014 3000 300d 0609 2a864886f70d01010a 3000 030100")
    assert server_end_point_hash(tiny) == ("sha256", hashlib.sha256(tiny).digest())


DER = certificate(algorithm=hashes.SHA512(), **PSS).public_bytes(serialization.Encoding.DER)


def with_byte(at: int, byte: int) -> bytes:
    data: bytes = DER[:at] + bytes([byte]) + DER[at + 1 :]
    return data


@settings(max_examples=200, deadline=None)
@given(st.one_of(
    st.binary(max_size=40),
    st.integers(0, len(DER) - 1).map(lambda size: DER[:size]),
    st.builds(with_byte, st.integers(0, len(DER) - 1), st.integers(0, 255)),
))  # fmt: skip
def test_any_bytes_give_a_hash_or_value_error(der: bytes) -> None:
    try:
        name, digest = server_end_point_hash(der)
    except ValueError:
        return
    assert digest == (b"" if name is None else hashlib.new(name, der).digest())
