"""The console: what is served, to whom, and that the page needs nothing from elsewhere."""

from __future__ import annotations

import datetime as dt
import re
from importlib.resources import files

import pytest
from starlette.testclient import TestClient

from headend.control.orderly_state import State as Plan
from headend.plans import REASONS
from headend.server import ServerSettings, build
from headend.store import orderly
from headend.web.console import _FILES, LOSSES, Snapshots
from tests.support.app import Desk, problem
from tests.support.factories import DAY, FIRST, WRITTEN, curve, factory, flat
from tests.support.seed import NOW, ZONE, Clock


def text(name: str) -> str:
    return files("headend.web").joinpath(name).read_text(encoding="utf-8")


@pytest.fixture
def local(desk: Desk) -> TestClient:
    """A browser on the same machine."""
    return TestClient(desk.app, base_url="http://localhost:7080", client=("127.0.0.1", 40000))


def test_the_page_and_its_parts_are_served(desk: Desk) -> None:
    page = desk.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for name in _FILES:
        if name != "index.html":
            part = desk.client.get(f"/console/{name}")
            assert part.status_code == 200
            assert (
                desk.client.get(
                    f"/console/{name}", headers={"If-None-Match": part.headers["ETag"]}
                ).status_code
                == 304
            )
    problem(desk.client.get("/console/console.py"), 404, "not-found")
    problem(desk.client.get("/console/..%2Fconsole.py"), 404, "not-found")


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for name in _FILES:
        for address in re.findall(r"(?:https?:)?//[a-z0-9.]+[^\s\"'`]*", text(name)):
            assert address == "http://www.w3.org/2000/svg", f"{name}: {address}"
        assert "innerHTML" not in text(name)  # texts come from meters and archives: they are never markup


def test_every_file_is_reachable_from_the_page() -> None:
    mentioned = set(re.findall(r"/console/([a-z]+\.[a-z]+)", text("index.html")))
    for name in _FILES:
        mentioned |= set(re.findall(r'from "\./([a-z]+\.js)"', text(name))) if name.endswith(".js") else set()
    assert mentioned == set(_FILES) - {"index.html"}


def words() -> dict[str, set[str]]:
    source = text("words.js")
    start_en, start_zh = source.index("  en: {"), source.index("  zh: {")
    pattern = re.compile(r'(?:^|[\s,{])"?([a-z_]+(?:-[a-z]+)*)"?: "')
    return {
        "en": set(pattern.findall(source[start_en:start_zh])),
        "zh": set(pattern.findall(source[start_zh : source.index("let language")])),
    }


def test_both_languages_have_every_word() -> None:
    found = words()
    assert found["en"] == found["zh"]
    used = set(re.findall(r'data-word="(\w+)"', text("index.html")))
    for name in _FILES:
        used |= set(re.findall(r'\bword\("([\w-]+)"', text(name)))
    used |= {f"orderly_{state}" for state in Plan if state is not Plan.DRAFT} | {
        "orderly",
        "orderly_more",
        "still_held",
        "not_read_back",
    }
    assert used <= found["en"]
    assert {f"c_{reason}" for reason in REASONS if not reason.startswith("not-due")} - {
        "c_not-commissioned"
    } <= found["en"]


def test_every_cause_has_its_colour_in_both_themes() -> None:
    light, _, dark = text("style.css").partition(':root[data-theme="dark"]')
    for reason in set(REASONS) - {"not-due", "not-commissioned"}:
        assert f"--c-{reason}:" in light
        assert f"--c-{reason}:" in dark


def test_a_browser_on_this_machine_needs_no_key(local: TestClient) -> None:
    response = local.get("/console/data")
    assert response.status_code == 200
    assert response.headers["Headend-Clock"] == "2026-03-11T14:37:20.000+08:00"
    again = local.get("/console/data", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["Headend-Clock"]


@pytest.mark.parametrize(
    ("base", "peer", "headers"),
    [
        ("http://localhost", "10.0.0.5", {}),
        ("http://evil.example", "127.0.0.1", {}),
        ("http://localhost.evil.example", "127.0.0.1", {}),
        ("http://localhost", "127.0.0.1", {"X-Forwarded-For": "10.0.0.5"}),
        ("http://localhost", "127.0.0.1", {"Forwarded": "for=10.0.0.5"}),
        ("http://localhost", "not-an-address", {}),
    ],
)
def test_anybody_else_needs_one(desk: Desk, base: str, peer: str, headers: dict[str, str]) -> None:
    client = TestClient(desk.app, base_url=base, client=(peer, 40000))
    problem(client.get("/console/data", headers=headers), 401, "unauthorized")
    assert client.get("/console/data", headers=headers | desk.auth("reader")).status_code == 200


def test_a_key_that_may_not_read_sees_nothing(desk: Desk) -> None:
    from headend.store import keys  # noqa: PLC0415

    desk.keys["payer"] = keys.issue(desk.conn, person="till", scopes=["pay"])
    desk.conn.commit()
    problem(desk.client.get("/console/data", headers=desk.auth("payer")), 403, "scope-missing")


def test_ipv6_and_a_closed_door(desk: Desk, store_dsn: str) -> None:
    six = TestClient(desk.app, base_url="http://[::1]:7080", client=("::1", 40000))
    assert six.get("/console/data").status_code == 200
    app = build(ServerSettings(dsn=store_dsn, zone=ZONE, clock=Clock(), console_open_locally=False))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        problem(client.get("/console/data"), 401, "unauthorized")


def test_what_the_page_is_told(desk: Desk, local: TestClient) -> None:
    data = local.get("/console/data").json()
    heat = data["heat"]
    assert [row["terminal"] for row in heat["rows"]] == ["T001", "T002", "T003", "T004"]
    assert heat["width"] == 96
    assert heat["slots"] == ["2026-03-10T16:15:00+00:00", "2026-03-11T16:00:00+00:00"]
    dead = heat["rows"][2]
    assert dead["due"] == [6] * 58 + [0] * 38
    assert dead["missing"] == [1] * 58 + [0] * 38
    assert {heat["causes"][cause] for cause in dead["cause"][:58]} == {"no-answer"}
    assert set(dead["cause"][58:]) == {-1}
    assert sum(map(sum, (row["missing"] for row in heat["rows"]))) == (
        data["rates"]["today"]["curve_due"] - data["rates"]["today"]["curve_present"]
    )
    unknown = [area for area in data["loss"]["areas"] if area["status"] == "unknown"]
    assert unknown[0]["loss"] is None
    assert unknown[0]["why"]
    severities = [finding["severity"] for finding in data["findings"]]
    assert severities == sorted(severities, key=["alarm", "warning", "info"].index)
    states = [command["state"] for command in data["commands"]]
    assert len(states) == len(desk.made.orders)
    assert [command["open"] for command in data["commands"]] == [True] * 6 + [False] * 7
    trip = next(c for c in data["commands"] if c["id"] == desk.made.orders["verified-trip"])
    assert [step["state"] for step in trip["steps"]] == [
        "wanted",
        "approved",
        "sending",
        "answered",
        "verified",
    ]


def test_an_empty_utility_is_shown_as_empty(database: str) -> None:
    from headend.store import db, migrate  # noqa: PLC0415

    with db.connect(database) as conn:
        migrate.migrate(conn)
        conn.commit()
    app = build(ServerSettings(dsn=database, zone=ZONE, clock=Clock()))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        data = client.get("/console/data").json()
    assert data["heat"]["rows"] == []
    nothing = {"day": None, "areas": []}
    assert data["loss"] == nothing | {"others": dict.fromkeys(LOSSES, nothing)}
    assert data["rates"]["today"]["integrity"] is None


def test_many_consoles_share_one_look(desk: Desk, local: TestClient) -> None:
    first = local.get("/console/data")
    desk.conn.execute("UPDATE terminal SET online = false")
    desk.conn.commit()
    assert local.get("/console/data").headers["ETag"] == first.headers["ETag"]


def test_a_plan_of_orderly_use_is_shown_while_somebody_should_watch_it(desk: Desk, local: TestClient) -> None:
    assert local.get("/console/data").json()["orderly"] == []
    curve(desk.conn, factory(desk.conn, 1), flat(1000), FIRST, DAY - dt.timedelta(days=1))
    said = {**WRITTEN, "first_day": "2026-03-12", "last_day": "2026-03-12"}
    plan = orderly.draft(desk.conn, orderly.read(said), who="陈晓", now=NOW)
    orderly.approve(desk.conn, plan, who="李敏", now=NOW)
    desk.app.state.snapshots = Snapshots()
    (told,) = local.get("/console/data").json()["orderly"]
    assert (told["name"], told["state"], told["participants"], told["held"]) == ("迎峰度夏", "approved", 1, 0)
    assert told["begins"] == "2026-03-12T02:00:00Z"
    orderly.withdraw(desk.conn, plan, who="王芳", why="rain", now=NOW)
    desk.app.state.snapshots = Snapshots()
    assert local.get("/console/data").json()["orderly"] == []
