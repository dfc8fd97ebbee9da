#!/usr/bin/env python3
"""redirect_symbols.py LIBRARY: lets a library built for a newer glibc load on this one, or refuses.

Debian 13 builds against glibc 2.38, whose headers rename strtol and sscanf to variants that also read C23's
binary numbers ("0b1"). An older glibc has the same functions under their C99 names: the library's symbol
table is pointed there. `strlcpy`, new in 2.38 too, is exported by PostgreSQL's server itself, so its version
is struck out. Any other symbol that this system's glibc lacks makes it fail, with the file untouched.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from pathlib import Path

#: A tail of the old name, or as long as it, so that it fits where it stands; None: any version will do.
ELSEWHERE = {b"__isoc23_sscanf": b"__isoc99_sscanf", b"__isoc23_strtol": b"strtol", b"strlcpy": None}
ANY_VERSION = 1  # VER_NDX_GLOBAL: bind to whatever the symbol's definition is


def glibc() -> tuple[int, ...]:
    """(2, 36)"""
    name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    return tuple(int(part) for part in re.findall(r"\d+", name))


def redirect(library: bytes, have: tuple[int, ...]) -> tuple[bytes, list[str]]:
    """The library with its symbols redirected, and the names that cannot be. ELF, 64 bit, little endian."""
    if library[:6] != b"\x7fELF\x02\x01":
        return library, ["not an ELF file of 64 bit, little endian"]
    out = bytearray(library)
    table, size, number, names_index = (
        *struct.unpack_from("<Q", out, 40),
        *struct.unpack_from("<HHH", out, 58),
    )
    headers = [struct.unpack_from("<IIQQQQIIQQ", out, table + index * size) for index in range(number)]

    def text(at: int) -> bytes:
        return bytes(out[at : out.index(0, at)])

    section = {text(headers[names_index][4] + header[0]): header for header in headers}
    strings = section[b".dynstr"][4]
    symbols, symbols_size = section[b".dynsym"][4:6]
    versions = section[b".gnu.version"][4]

    # .gnu.version_r: per needed library a chain of versions; those of glibc that are newer than ours
    newer: dict[int, int] = {}  # version index -> offset of its entry
    at = section[b".gnu.version_r"][4]
    while True:
        count, _file, first, following = struct.unpack_from("<HIII", out, at + 2)
        entry = at + first
        for _ in range(count):
            _hash, _flags, index, name, step = struct.unpack_from("<IHHII", out, entry)
            wanted = re.fullmatch(rb"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", text(strings + name))
            if wanted and (int(wanted[1]), int(wanted[2])) > have[:2]:
                newer[index] = entry
            entry += step
        if not following:
            break
        at += following

    refused = []
    for index in range(symbols_size // 24):
        symbol = symbols + index * 24
        (name,) = struct.unpack_from("<I", out, symbol)
        (version,) = struct.unpack_from("<H", out, versions + index * 2)
        if version & 0x7FFF not in newer:
            continue
        old = text(strings + name)
        if old not in ELSEWHERE:
            refused.append(old.decode())
            continue
        new = ELSEWHERE[old]
        if new is not None and old.endswith(new):  # share its tail
            struct.pack_into("<I", out, symbol, name + len(old) - len(new))
        elif new is not None:
            out[strings + name : strings + name + len(old)] = new
        struct.pack_into("<H", out, versions + index * 2, ANY_VERSION)
    for entry in newer.values():
        struct.pack_into("<H", out, entry + 4, 2)  # VER_FLG_WEAK: no symbol asks for it any more
    return bytes(out), refused


def main() -> int:
    path = Path(sys.argv[1])
    have = glibc()
    if not have:
        print(f"{path.name}: this system's C library is not glibc", file=sys.stderr)
        return 1
    library = path.read_bytes()
    changed, refused = redirect(library, have)
    if refused:
        version = ".".join(map(str, have))
        print(f"{path.name} needs what glibc {version} does not have: {', '.join(refused)}", file=sys.stderr)
        return 1
    if changed != library:
        path.write_bytes(changed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
