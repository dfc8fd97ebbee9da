"""From steps to one sentence: what is wrong and what to do next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from terminals.diagnose.diagnosis import Cause, State, Step, Words

_GOOD: Final = Words(
    "Everything that was asked is in order: nothing to do here.", "所查各项均正常：此处无需处理。"
)
_PARTLY: Final = Words(
    "What the meter answered is in order; the steps marked unknown could not be checked.",
    "电表已答复的各项正常；标为未知的步骤未能检查。",
)
_OTHERWISE: Final = Words("See the step that failed.", "请查看失败的步骤。")

#: (step, cause) -> verdict. A step may have one entry for every cause it can fail with.
_TABLE: Final = {
    ("link", Cause.CANNOT_OPEN): Words(
        "The line could not be opened. Check address and port, power of the terminal, SIM or cable, then try again.",
        "无法打开链路。请检查地址端口、终端电源、SIM卡或线缆后重试。",
    ),
    ("address", Cause.SILENT): Words(
        "The line opens, but no meter answers. Check the address, power at the meter, RS-485 A/B polarity and wiring; "
        "give the address if more than one meter is on the line.",
        "链路已通，但无电表应答。请检查表地址、电表供电、RS-485 A/B极性与接线；总线上多于一块表时请指定地址。",
    ),
    ("address", Cause.GARBLED): Words(
        "Bytes come back that make no frame. Check baud rate and parity; with the wildcard, several meters may be "
        "answering at once: give an address.",
        "收到的字节不成帧。请检查波特率与校验位；使用通配地址时可能有多块表同时应答：请指定地址。",
    ),
    ("address", Cause.REFUSED): Words(
        "The meter answers and refuses us. Check the password, and do not go on trying: meters lock after a few.",
        "电表有应答但拒绝访问。请核对密码，不要继续尝试：多次错误后电表会闭锁。",
    ),
    ("clock", Cause.WRONG): Words(
        "The meter's clock is wrong. Set the clock before its interval data are used.",
        "电表时钟不准。请先校时，再使用其曲线数据。",
    ),
    ("voltages", Cause.WRONG): Words(
        "A phase has no voltage at the meter. Check fuses, voltage terminals and the supply of that phase.",
        "电表某相无电压。请检查熔断器、电压端子及该相供电。",
    ),
}
#: What any step after the address may run into.
_ANY: Final = {
    Cause.LOST: Words(
        "The connection broke during the dialogue. Check signal strength and whether another master took the line.",
        "通信过程中连接中断。请检查信号强度，以及是否有其他主站占用链路。",
    ),
    Cause.SILENT: Words(
        "The meter stopped answering in the midst. Try again; if it repeats, check signal and wiring.",
        "电表中途停止应答。请重试；若再次出现，请检查信号与接线。",
    ),
    Cause.GARBLED: Words(
        "Answers arrive damaged. Look for interference, a missing termination resistor or a second master.",
        "应答帧损坏。请检查干扰、终端电阻缺失或总线上的第二个主站。",
    ),
    Cause.WRONG: Words(
        "The meter gives values that its protocol does not allow. Keep the dump and report the model.",
        "电表返回的数据不符合规约。请保存报文并上报表型。",
    ),
}


def verdict(steps: Sequence[Step]) -> Words:
    """The first failure decides: what comes after it usually follows from it."""
    failed = next((step for step in steps if step.state is State.FAILED), None)
    if failed is not None:
        return _TABLE.get((failed.key, failed.cause)) or _ANY.get(failed.cause, _OTHERWISE)
    return _PARTLY if any(step.state is State.UNKNOWN for step in steps) else _GOOD
