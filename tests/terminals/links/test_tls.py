"""TLS on the listener, with certificates made here: on real sockets, with clients of the standard library."""

import asyncio
import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from terminals.links.listener import Listener
from terminals.links.tls import BadCertificate, server_context

DAY = dt.timedelta(days=1)


def _made(folder, name, issuer=None):
    """NAME.pem and NAME.key: signed by `issuer`, a pair of these, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
    )
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """A folder with a server's certificate, a terminals' authority, a terminal's certificate from it, and a stranger's."""
    folder = tmp_path_factory.mktemp("papers")
    _made(folder, "server")
    authority = _made(folder, "authority")
    _made(folder, "terminal", authority)
    _made(folder, "stranger")
    return folder


@pytest.fixture
async def listen(papers):
    """listen(context) -> the Listener; its links echo."""
    listeners, links = [], []

    async def own(link):
        link.write(await link.read(2.0))
        links.append(link)
        return True

    async def start(tls):
        listener = Listener("127.0.0.1", 0, own, tls=tls)
        await listener.start()
        listeners.append(listener)
        return listener

    yield start
    for listener in listeners:
        await listener.close()
    for link in links:
        await link.close()


async def _said(papers, port, name=None):
    """What the server echoes to a client that trusts its certificate; NAME: the client's own."""
    context = ssl.create_default_context(cafile=papers / "server.pem")
    if name:
        context.load_cert_chain(papers / f"{name}.pem", papers / f"{name}.key")
    async with asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            writer.write(b"hello")
            return await reader.read(100)
        finally:
            writer.transport.abort()
            await asyncio.sleep(0.01)


async def test_a_caller_speaks_tls(papers, listen):
    listener = await listen(server_context(papers / "server.pem", papers / "server.key"))
    assert await _said(papers, listener.port) == b"hello"
    assert listener.accepted == 1


async def test_a_caller_without_tls_gets_nothing(papers, listen):
    listener = await listen(server_context(papers / "server.pem", papers / "server.key"))
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"REG,T-1\r\n")
    async with asyncio.timeout(5.0):
        try:
            said = await reader.read(100)
        except ConnectionResetError:
            said = b""
    assert b"REG" not in said
    assert listener.accepted == 0
    writer.transport.abort()


async def test_terminals_must_prove_who_they_are(papers, listen):
    context = server_context(papers / "server.pem", papers / "server.key", papers / "authority.pem")
    listener = await listen(context)
    assert await _said(papers, listener.port, "terminal") == b"hello"
    for name in (None, "stranger"):
        try:
            said = await _said(papers, listener.port, name)
        except OSError:  # ssl.SSLError too: the alert, or the end
            said = b""
        assert said == b""
    assert listener.accepted == 1


def test_old_versions_are_not_spoken(papers):
    context = server_context(papers / "server.pem", papers / "server.key")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("none.pem", "server.key"), "cannot use .*none.pem for TLS: No such file or directory; check the setting"),
        (("server.pem", "none.key"), "cannot use .*none.key for TLS: No such file"),
        (("server.pem", "stranger.key"), "cannot use .*server.pem for TLS: key values mismatch; .*stranger.key"),
        (("server.key", "server.key"), "cannot use .*server.key for TLS: .*PEM certificate"),
        (("server.pem", "server.key", "server.key"), "cannot use .*server.key for TLS: .*it must hold PEM"),
        (("server.pem", "locked.key"), "must have no password"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(papers, files, says):
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (papers / "locked.key").write_bytes(locked)
    with pytest.raises(BadCertificate, match=says) as caught:
        server_context(*(papers / name for name in files))
    assert "\n" not in str(caught.value)
