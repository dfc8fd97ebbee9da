"""What the CRM asks about wallets."""

from __future__ import annotations

from headend.store import wallets
from headend.store.wallets import Reading
from tests.support.app import Desk
from tests.support.house import at


def test_a_wallet_and_its_purchases(desk: Desk) -> None:
    number = desk.made.customers[0][2]
    account = desk.get(f"/customers/{number}").json()["accounts"][0]
    assert account["fee_control"] == "master"
    assert desk.get(f"/customers/{number}/wallet").json()["wallets"] == []
    desk.conn.execute(
        "UPDATE account SET fee_control = 'meter', prepaid = true WHERE account_id = %s",
        (account["account"],),
    )
    row = desk.conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (account["meter"],)).fetchone()
    assert row is not None
    desk.conn.commit()
    reading = Reading(0, 250, 3, (12_345_600, 0, 0, 0, 0), True, {"overdraft": 500})
    wallets.save(desk.conn, row["meter_id"], reading, at=at("2026-03-10 08:00"))
    (told,) = desk.get(f"/customers/{number}/wallet").json()["wallets"]
    (said,) = told["readings"]
    assert (told["meter"], told["proved"], said["overdrawn"]["yuan"], said["purchases"], said["relay"]) == (
        account["meter"], 0, "2.50", 3, "open",
    )  # fmt: skip
    assert (said["limits"]["overdraft"]["fen"], said["at"]) == (500, "2026-03-10T00:00:00Z")
    for serial in ("1", "2"):
        paid = {"channel": "wechat", "accounting_date": "2026-03-11", "serial": serial, "amount_fen": 5_000}
        assert desk.post(f"/customers/{number}/payments", paid, who="cashier", once=serial).status_code == 201
    first = desk.get(f"/customers/{number}/purchases?limit=1").json()
    (newest,) = first["purchases"]
    assert (newest["payment"]["serial"], newest["standing"], newest["command"]) == ("2", "waiting", None)
    (oldest,) = desk.get(f"/customers/{number}/purchases?limit=1&cursor={first['next']}").json()["purchases"]
    assert (oldest["amount"]["fen"], oldest["standing"]) == (5_000, "waiting")
    command = desk.get(oldest["command"].removeprefix("/api/v1")).json()
    assert (command["kind"], command["action"]) == ("purchase", "open")
    assert [c["id"] for c in desk.get("/commands?kind=purchase").json()["commands"]] == [command["id"]]
