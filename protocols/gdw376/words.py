"""The small code tables of Q/GDW 376.1: application functions, link functions, confirmation results."""

from __future__ import annotations

from typing import Final

#: AFN -> (English, 中文).
AFN_NAMES: Final = {
    0x00: ("confirm/deny", "确认/否认"),
    0x01: ("reset", "复位"),
    0x02: ("link interface test", "链路接口检测"),
    0x03: ("relay station command", "中继站命令"),
    0x04: ("set parameters", "设置参数"),
    0x05: ("control command", "控制命令"),
    0x06: ("identity authentication and key agreement", "身份认证及密钥协商"),
    0x08: ("request cascaded terminal report", "请求被级联终端主动上报"),
    0x09: ("request terminal configuration", "请求终端配置及信息"),
    0x0A: ("query parameters", "查询参数"),
    0x0B: ("request task data", "请求任务数据"),
    0x0C: ("request class 1 (real time) data", "请求1类数据"),
    0x0D: ("request class 2 (history) data", "请求2类数据"),
    0x0E: ("request class 3 (event) data", "请求3类数据"),
    0x0F: ("file transfer", "文件传输"),
    0x10: ("data forwarding", "数据转发"),
}

#: Link function code of a frame with PRM = 1.
RESET, SEND, LINK_TEST, REQUEST_1, REQUEST_2 = 1, 4, 9, 10, 11
#: Link function code of a frame with PRM = 0.
CONFIRMED, USER_DATA, NO_DATA, LINK_STATE = 0, 8, 9, 11

#: AFN -> the link function of a master's request. In the field 10 and 11 are used alike; terminals look at the AFN.
REQUEST_FUNCTION: Final = {0x01: RESET, 0x04: REQUEST_1, 0x05: REQUEST_1, 0x06: REQUEST_1, 0x0F: REQUEST_1}

#: AFN 00 F1 confirms all, F2 denies all, F3 says one by one.
CONFIRM_ALL, DENY_ALL, ONE_BY_ONE = 1, 2, 3
#: AFN 02.
LOGIN, LOGOUT, HEARTBEAT = 1, 2, 3


def result_name(code: int) -> str:
    """The result byte of AFN 00 F3: 0 correct, anything else the terminal's own error number."""
    return "correct" if code == 0 else f"error {code}"
