"""Wrong command lines and wrong settings: one line that names the culprit and where to read on, and the exit code."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

#: arguments, what the line names, exit code. Everything here fails before a database or a wire is needed, or for want of one.
WRONG = [
    pytest.param(["nonsense"], "'nonsense'", 2, id="no-such-command"),
    pytest.param(["relay", "nonsense"], "'nonsense'", 2, id="no-such-subcommand"),
    pytest.param(["why"], "'METER'", 2, id="argument-missing"),
    pytest.param(["why", "1", "--nonsense"], "--nonsense", 2, id="no-such-option"),
    pytest.param(["why", "1", "2026-13-01"], "'2026-13-01' is not a day such as 2026-03-11", 2, id="no-such-day"),
    pytest.param(["lineloss", "show", "gestern"], "'gestern' is not a day", 2, id="day-in-another-language"),
    pytest.param(["prepaid", "pay", "1", "1.005", "--serial", "1"], "'1.005' is not an amount", 2, id="half-a-fen"),
    pytest.param(["prepaid", "pay", "1", "ten", "--serial", "1"], "'ten' is not an amount such as 100", 2, id="amount"),
    pytest.param(["prepaid", "pay", "1", "10"], "--serial", 2, id="payment-without-serial"),
    pytest.param(["bank", "add", "X", "x", "--cutoff", "24:00"], "'24:00' is not a time such as 22:00", 2, id="cut-off"),
    pytest.param(["bank", "reconcile", "/nowhere"], "'/nowhere'", 2, id="no-such-day-end-file"),
    pytest.param(["bank", "decide", "1", "maybe"], "'maybe' is not one of 'book', ", 2, id="decision"),
    pytest.param(["init", "--key-for", "x", "--scopes", "bank"], "unknown scope 'bank'", 2, id="bank-scope"),
    pytest.param(["relay", "trip", "1"], "--reason", 2, id="trip-without-reason"),
    pytest.param(["relay", "approve", "first"], "'first'", 2, id="order-number"),
    pytest.param(["relay", "limits", "trips_per_hour"], "'trips_per_hour' is not NAME=VALUE", 2, id="limit"),
    pytest.param(["read", "1", "phlogiston"], "'phlogiston'", 2, id="quantity"),
    pytest.param(["archive", "list", "cats"], "'cats'", 2, id="no-such-list"),
    pytest.param(["jobs", "once", "nonsense"], "'nonsense'", 2, id="no-such-job"),
    pytest.param(["init", "--key-for", "x", "--scopes", "read,all"], "'all'", 2, id="scope"),
    pytest.param(["collect", "--listen", "7040"], "'7040' is not HOST:PORT", 2, id="listen-without-host"),
    pytest.param(["collect", "--listen", "127.0.0.1:70000"], "'127.0.0.1:70000'", 2, id="port-too-high"),
    pytest.param(["serve", "--listen", "localhost"], "'localhost' is not HOST:PORT", 2, id="serve-listen"),
    pytest.param(["simulate", "x", "--head-end", "here"], "'here' is not HOST:PORT", 2, id="simulate-head-end"),
    pytest.param(["simulate", "x", "--group", "dlt645:dial-in"], "'dlt645:dial-in' is not PROTOCOL:LINK:COUNT", 2, id="simulate-group"),
    pytest.param(["simulate", "x", "--areas", "2", "--group", "dlms:dial-in:1"], "--areas or --group", 2, id="simulate-both"),
    pytest.param(["simulate", "x", "--areas", "2", "--dead", "3"], "each fault needs an area of its own", 2, id="simulate-dead"),
    pytest.param(["simulate", "x", "--stuck", "1"], "go with --areas or --group", 2, id="simulate-stuck"),
    pytest.param(["simulate", "x", "--resume", "--seed", "1"], "--resume goes on with what is there", 2, id="simulate-resume-seed"),
    pytest.param(["simulate", "x", "--fault", "flood"], "'flood' is none of loss", 2, id="simulate-fault"),
    pytest.param(["simulate", "x", "--fault", "loss=9"], "loss takes a number between 0 and 1", 2, id="simulate-fault-value"),
    pytest.param(["simulate", "nowhere", "--tell", "status"], "no simulator answers in nowhere", 1, id="simulate-tell"),
    pytest.param(["decode", "zz"], "hexadecimal", 2, id="no-hex"),
    pytest.param(["decode", "681"], "hexadecimal", 2, id="odd-hex"),
    pytest.param(["decode", "68010203"], "nearest is dlt645-2007: ", 1, id="garbage-frame"),
    pytest.param(["decode", "--protocol", "dlms", "6801"], "not decoded; dlms: ", 1, id="garbage-of-a-protocol"),
    pytest.param(["decode", "--protocol", "morse", "68"], "'morse' is not one of 'dlt645-2007', ", 2, id="protocol"),
    pytest.param(["diagnose", "ftp://host:1"], "'ftp://host:1' is not a link address", 2, id="url"),
    pytest.param(["diagnose", "tcp://host"], "host and port are needed", 2, id="url-without-port"),
    pytest.param(["diagnose", "serial:///dev/x?parity=Q"], "parity 'Q'", 2, id="parity"),
    pytest.param(["diagnose", "tcp://h:1", "--zone", "Mars/Tharsis"], "'Mars/Tharsis'", 2, id="zone"),
    pytest.param(["diagnose", "recording:///nowhere.toml", "--json"], "/nowhere.toml is no recorded diagnosis", 1, id="no-such-recording"),
    pytest.param(["demo", "--kill", "2"], "--kill goes with --once", 2, id="demo-kill"),
    pytest.param(["demo", "--check"], "headend demo --once", 1, id="check-without-a-run"),
    pytest.param(["why", "1"], "no database at 127.0.0.1:1/nowhere", 1, id="database-unreachable"),
    pytest.param(["collect"], "no database at 127.0.0.1:1/nowhere", 1, id="collect-unreachable"),
    pytest.param(["init"], "no database at 127.0.0.1:1/nowhere", 1, id="init-unreachable"),
    pytest.param(["--dsn", "nonsense", "why", "1"], "the DSN is not valid", 1, id="dsn-malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "names", "code"), WRONG)
def test_wrong_usage_is_one_line(bare, arguments, names, code):
    said = bare(*arguments)
    assert said.code == code
    if names is None:  # the diagnosis itself, on standard output
        assert said.err == ""
        return
    assert names in said.line
    assert said.out == ""
    if code == 2:
        assert "; see `headend" in said.line
        assert "--help`" in said.line


def test_as_a_process_of_its_own(bare):
    said = bare.process("why", "1", "2026-13-01")
    assert said.code == 2
    assert said.line.startswith("headend why: ")
    said = bare.process("why", "1")
    assert said.code == 1
    assert said.line.startswith("headend: no database at ")


def test_no_command_is_the_help(bare):
    said = bare()
    assert said.code == 2
    assert "First steps" in said.out + said.err


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (
            {"HEADEND_CLOCK": "noon"},
            "HEADEND_CLOCK: clock 'noon' is not 'system' or 'START@UNIX_SECONDSxRATE'",
        ),
        (
            {"HEADEND_CLOCK": "2026-03-11T10:00@0x0"},
            "HEADEND_CLOCK: clock '2026-03-11T10:00@0x0': the rate must be positive",
        ),
        ({"HEADEND_LISTEN": "here"}, "HEADEND_LISTEN: 'here' is not host:port"),
        ({"HEADEND_API": "here:port"}, "HEADEND_API: 'here:port' is not host:port"),
        ({"HEADEND_QUOTA": "many"}, "HEADEND_QUOTA: "),
        ({"HEADEND_LEASE_SECONDS": "0"}, "HEADEND_LEASE_SECONDS: Input should be greater than 1"),
    ],
)
def test_a_wrong_setting_is_named(fleet, settings, names):
    said = fleet("why", fleet.meter, **settings)
    assert said.code == 1
    assert names in said.line


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('qota = 3\n', "there is no setting 'qota'; there are home, dsn,"),
        ("quota = \n", "line 1"),
        ('quota = "many"\n', "HEADEND_QUOTA"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_settings(bare, tmp_path: Path, text, names):
    file = tmp_path / "headend.toml"
    file.write_text(text)
    said = bare("doctor", HEADEND_CONFIG=str(file))
    assert said.code == 1
    assert names in said.line


def test_files_that_are_not_there(bare, tmp_path: Path):
    said = bare("doctor", HEADEND_CONFIG=str(tmp_path / "none.toml"))
    assert (said.code, "none.toml, which is no file" in said.line) == (1, True)
    env = {name: value for name, value in bare.env.items() if name != "HEADEND_DSN"}
    said = type(bare)(env)("doctor", HEADEND_DSN_FILE=str(tmp_path / "secret"))
    assert said.code == 1
    assert f"HEADEND_DSN_FILE names {tmp_path / 'secret'}: no such file" in said.line


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"HEADEND_TLS_CERTIFICATE": "none.pem"}, "cannot use none.pem for TLS: No such file or directory; "),
        ({"HEADEND_TLS_KEY": "a.key"}, "HEADEND_TLS_KEY is of no use without HEADEND_TLS_CERTIFICATE"),
        (
            {"HEADEND_TLS_CLIENT_CA": "a.pem"},
            "HEADEND_TLS_CLIENT_CA is of no use without HEADEND_TLS_CERTIFICATE",
        ),
    ],
)
def test_tls_that_cannot_be(bare, settings, names):
    said = bare("collect", **settings)
    assert said.code == 1
    assert names in said.line


def test_a_home_that_cannot_be_one(bare, tmp_path: Path):
    (tmp_path / "file").touch()
    for command in (["init"], ["why", "1"]):
        said = bare("--home", str(tmp_path / "file" / "home"), *command, HEADEND_DSN="")
        assert said.code == 1
        assert str(tmp_path / "file") in said.line
        assert "--home or HEADEND_HOME" in said.line


def test_folders_that_cannot_be_written(bare, tmp_path: Path):
    (tmp_path / "file").touch()
    said = bare("simulate", str(tmp_path / "file" / "fleet"))
    assert (said.code, str(tmp_path / "file") in said.line) == (1, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    said = bare("demo", "--once", "--folder", str(tmp_path / "mine"))
    assert said.code == 1
    assert "not empty and not a demo's folder" in said.line
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_port_in_use(fleet):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        for command in (
            ["serve", "--listen", f"127.0.0.1:{port}"],
            ["collect", "--listen", f"127.0.0.1:{port}"],
            ["demo", "--port", str(port), "--folder", str(fleet.folder / "demo")],
        ):
            said = fleet.process(*command)
            assert said.code == 1, command
            assert f":{port}: the port is in use; " in said.err.splitlines()[-1]
            assert "Traceback" not in said.err


def test_a_database_that_is_not_ours(conn, database, bare):
    said = bare("why", "1", HEADEND_DSN=database)
    assert (said.code, "no head-end schema yet; run `headend init`" in said.line) == (1, True)
    said = bare("why", "1", HEADEND_DSN=f"{database} dbname=nowhere")
    assert (said.code, 'database "nowhere" does not exist' in said.line) == (1, True)
    said = bare("doctor", HEADEND_DSN=database)
    assert said.code == 1
    assert "run `headend init`" in " ".join(said.out.split())


def test_a_role_that_may_not(conn, database, bare):
    role = f"reader_of_{conn.info.dbname}"
    conn.execute(f"CREATE ROLE {role} LOGIN".encode())
    try:
        said = bare("init", HEADEND_DSN=f"{database} user={role}")
        assert said.code == 1
        assert "permission denied" in said.line
    finally:
        conn.execute(f"DROP ROLE {role}".encode())
