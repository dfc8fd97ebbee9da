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
        "give the address if more than one meter is on the line, and --terminal for a meter behind a terminal.",
        "链路已通，但无电表应答。请核对表地址，检查电表是否有电、RS-485 A/B 是否接反；"
        "一条总线上有多块表时请指定表地址，经终端抄表时请加 --terminal。",
    ),
    ("address", Cause.UNREACHED): Words(
        "The terminal answers, the meter behind it does not. Check the meter's power, its RS-485 wires or carrier module, and whether the "
        "terminal's archive has it on the right port with the right address and protocol.",
        "终端有应答，但其下电表不通。请检查电表供电、RS-485 接线或载波模块，并核对终端档案中的端口、表地址与规约。",
    ),
    ("address", Cause.ECHO): Words(
        "Only our own bytes come back: the adapter works, but nothing beyond it answers. Swap A and B, check the wire to the meter, its power "
        "and its address.",
        "只收到自己发出的字节：转换器正常，但线路对端无应答。请对调 A/B 线，检查到电表的接线、电表是否有电及表地址。",
    ),
    ("address", Cause.NEEDS): Words(
        "Somebody is there, but it is not said who is meant: give what the step asks for and run it again.",
        "线上有设备应答，但还缺信息：请按上面提示补充参数后重试。",
    ),
    ("address", Cause.LOCKING): Words(
        "Stopped before the meter locks itself: no further password was tried. Find out the right one, and wait as long as the meter's manual "
        "says before trying again.",
        "为避免电表闭锁，已停止试密码。请先查明正确密码，并按表计说明书等待后再试。",
    ),
    ("address", Cause.DEPARTED): Words(
        "The recording does not hold what is asked now. Diagnose it with the options it was made with, or record it anew.",
        "录制文件中没有本次所召测的报文。请使用录制时的参数，或重新录制。",
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
        "表计某相无电压。请检查该相熔断器、电压连片（电压端子）及供电。",
    ),
    ("status", Cause.WRONG): Words(
        "The meter itself reports a fault (marked ! in its status words). Compare it with the display and the events, then act on that fault.",
        "表计自报异常（状态字中带 ! 的项）。请对照液晶显示与事件记录核实后处理。",
    ),
    ("battery", Cause.WRONG): Words(
        "The clock battery is nearly empty: after the next power cut the clock will be wrong. Order a meter exchange or a new battery.",
        "时钟电池欠压：下次停电后时钟可能丢失。请安排更换电池或换表。",
    ),
    ("signal", Cause.WRONG): Words(
        "The terminal's radio signal is weak. Move or replace the antenna, check the SIM, try another operator.",
        "终端信号弱。请调整或更换天线、检查 SIM 卡，必要时更换运营商。",
    ),
}
#: What any step after the address may run into.
_ANY: Final = {
    Cause.DEPARTED: Words(
        "The recording does not hold what is asked now: it was made with another version or other options. Record it anew.",
        "录制文件中没有本次所召测的报文：版本或参数与录制时不同。请重新录制。",
    ),
    Cause.LOST: Words(
        "The connection broke during the dialogue. Check signal strength and whether another master took the line.",
        "通信过程中连接中断。请检查信号强度，以及是否有其他主站占用链路。",
    ),
    Cause.UNREACHED: Words(
        "The terminal answers, but the meter behind it fell silent. Try again; if it repeats, check the carrier's phase and noise or the RS-485 bus.",
        "终端有应答，但中途抄不到电表。请重试；若再次出现，请检查载波通信质量或 RS-485 总线。",
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
    open_ones = [step for step in steps if step.state is State.UNKNOWN and not _spared(step)]
    return _PARTLY if open_ones else _GOOD


def _spared(step: Step) -> bool:
    """What many good meters do not have leaves no question open."""
    return step.cause is Cause.REFUSED and step.key in ("identity", "phasors", "status", "battery", "signal")
