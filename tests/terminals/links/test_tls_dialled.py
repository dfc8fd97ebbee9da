"""Dialling out in TLS: whom we believe, who we say we are, and what is told when it fails."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from terminals.links.link import CannotConnect, Link, LinkLost
from terminals.links.trust import Trust
from terminals.links.url import parse
from tests.support.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def serving(context: ssl.SSLContext | None) -> AsyncIterator[str]:
    """An echo on a port of its own."""
    writers: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except (OSError, ssl.SSLError):
            pass

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    try:
        yield f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0.05)


async def test_bytes_pass_under_a_certificate_that_is_believed(
    authority: Authority, closing: Callable[[Link], Link]
) -> None:
    async with serving(authority.sign("meter", "127.0.0.1").serving()) as url:
        link = closing(await parse(url, Trust(ca=authority.ca)).open(5.0))
        assert link.name == url
        link.write(b"\x68\x16" * 20_000)
        got = b""
        while len(got) < 40_000:
            got += await link.read(5.0)
        assert got == b"\x68\x16" * 20_000
        await link.close()
        with pytest.raises(LinkLost):
            await link.read(1.0)


async def test_a_stranger_is_not_believed_unless_everybody_is(
    authority: Authority, tmp_path: Path, closing: Callable[[Link], Link]
) -> None:
    other = Authority(tmp_path, "Somebody else")
    async with serving(other.sign("impostor", "127.0.0.1").serving()) as url:
        with pytest.raises(CannotConnect, match=r"its certificate is not believed: .*HEADEND_DIAL_CA"):
            await parse(url, Trust(ca=authority.ca)).open(5.0)
        with pytest.raises(CannotConnect, match="is not believed"):
            await parse(url).open(5.0)  # the system's authorities
        link = closing(await parse(url, Trust(verify=False)).open(5.0))
        link.write(b"x")
        assert await link.read(5.0) == b"x"


async def test_a_certificate_of_another_host_is_not_believed(authority: Authority) -> None:
    async with serving(authority.sign("meter", "10.9.9.9").serving()) as url:
        with pytest.raises(CannotConnect, match="is not believed"):
            await parse(url, Trust(ca=authority.ca)).open(5.0)


async def asked(url: str, trust: Trust) -> bytes:
    link = await parse(url, trust).open(5.0)
    try:
        link.write(b"x")
        return await link.read(5.0)
    finally:
        await link.close()


async def test_a_peer_that_asks_is_shown_ours(authority: Authority, closing: Callable[[Link], Link]) -> None:
    ours = authority.sign("headend")
    async with serving(authority.sign("meter", "127.0.0.1").serving(authority.ca)) as url:
        trust = Trust(ca=authority.ca, certificate=ours.certificate, key=ours.key)
        link = closing(await parse(url, trust).open(5.0))
        link.write(b"x")
        assert await link.read(5.0) == b"x"
        # TLS 1.3 tells a client that was refused only when it reads
        with pytest.raises((CannotConnect, LinkLost)):
            await asked(url, Trust(ca=authority.ca))


async def test_a_peer_without_tls_is_told_as_such(authority: Authority) -> None:
    async with serving(None) as url:
        with pytest.raises(CannotConnect, match=r"no TLS came about: .*speaks TLS on that port"):
            await parse(url, Trust(ca=authority.ca)).open(5.0)


async def test_our_own_files_are_named(authority: Authority, tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    with pytest.raises(CannotConnect, match=r"none.pem: No such file.*HEADEND_DIAL_"):
        await parse("tls://127.0.0.1:9", Trust(ca=missing)).open(1.0)
    with pytest.raises(CannotConnect, match="our own TLS files"):
        await parse("tls://127.0.0.1:9", Trust(certificate=authority.ca)).open(1.0)
