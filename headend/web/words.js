// Every word of the page, in both languages. A word that is missing in one of them is a bug that a test finds.

export const WORDS = {
  en: {
    title: "Head-end console", fleet: "Fleet",
    heat: "Completeness by terminal, today", loss: "Line loss", by_area: "by transformer area", by_line: "by line", by_bus: "by bus", by_transformer: "by transformer",
    by_region: "by region", by_voltage: "by voltage", commands: "Commands", findings: "Findings",
    access: "Read-only. Served to browsers on this machine, or with an API key that may read.",
    key_title: "API key",
    key_text: "This browser is not on the head-end's machine. Enter an API key with the scope “read”; it is kept until this tab closes.",
    key_use: "Use this key",
    terminals: "Terminals online", meters: "Meters", completeness: "Points collected today", once: "Day freeze, first attempt",
    open_commands: "Open commands", new_findings: "New findings", balances: "Prepaid balances",
    never_seen: "{n} never seen", all_online: "all online", no_terminals: "none in the archive", network: "no connection", offline_n: "{n} offline",
    areas_customers: "{a} areas, {c} customers", missing_of: "{n} of {m} missing", all_there: "nothing missing",
    once_more: "{day}: {n} of {m}", nothing_due: "nothing due yet",
    awaiting: "{n} to approve", unknown_n: "{n} unknown", under_way: "under way", none_open: "none open",
    alarms: "{n} alarms", warnings: "{n} warnings", quiet: "all quiet",
    to_stop: "{n} below zero", to_warn: "{n} low", balances_ok: "all sufficient", no_balances: "not computed yet",
    heat_note: "15-minute slots, named by their end · {n} terminals", heat_note_cut: "the {k} terminals missing most, of {n}",
    heat_empty: "No terminals in the archive. `headend archive import` brings them in.",
    "c_not-asked": "not asked yet", c_offline: "offline", "c_not-published": "not published", c_allowance: "SIM used up", "c_link-lost": "link lost", "c_not-in-terminal": "not in terminal", "c_no-answer": "no answer", c_garbled: "garbled",
    "c_missing-in-answer": "gap in answer", c_refused: "refused", c_expired: "overwritten", "c_not-recorded": "not recorded",
    complete: "complete", not_due: "not due yet",
    cell: "{terminal} {name}, slot ending {slot}", cell_missing: "{n} of {m} missing: {cause}", cell_full: "all {m} there",
    cell_future: "not due yet", cell_none: "no meter owes this slot", seen: "last seen {at}", seen_never: "never seen",
    online: "online", offline: "offline",
    loss_note: "{day} · loss / supplied, with bounds", loss_note_none: "not computed yet",
    loss_empty: "No line loss yet: it is computed once a day's freezes are in.",
    unknown: "unknown", bounded: "limits only", loss_detail: "supplied {s} kWh, sold {d} kWh, loss {l} kWh (between {lo} and {hi})",
    complete_of: "{n} of {m} meters complete",
    commands_note: "{n} open · newest first", commands_empty: "No commands yet.",
    h_number: "No.", h_action: "Command", h_meter: "Meter", h_progress: "Progress", h_state: "State and outcome", h_age: "Asked",
    findings_note: "{n} new", findings_empty: "No findings. Rules run after each day's data are in.",
    acknowledged_by: "acknowledged by {who}", rule: "rule", day: "day", found_at: "first seen",
    reason: "Reason", asked_by: "asked by {who}", approved_by: "approved by {who}", void_after: "void after {at}",
    relay_trip: "cut off", relay_permit: "permit closing", relay_close: "close", "relay_keep-power": "keep power",
    "relay_end-keep-power": "end keep power", read_: "read", clock_read: "read clock", clock_set: "set clock", diagnose_: "diagnose",
    parameters_read: "read parameters", parameters_write: "write parameters", archive_read: "read archive",
    archive_write: "write archive", tasks_read: "read tasks", tasks_write: "write tasks",
    wanted: "awaiting approval", approved: "approved", sending: "sending", answered: "answered", pending: "pending in the meter",
    unknown_state: "outcome unknown", verified: "verified", failed: "failed", refused: "refused", expired: "expired", cancelled: "cancelled",
    track: "wanted, approved, sending, answered, pending, verified; now: {state}",
    just_now: "just now", minutes: "{n} min", hours: "{n} h", days: "{n} d", ago: "{t} ago",
    loading: "loading…", fresh: "updated {n} s ago", stale: "last update {n} s ago", lost: "connection lost {n} s",
    trouble: "No answer ({why}): this is the state of {at}; trying again.",
    trouble_first: "No answer ({why}); trying again.",
    pace: "runs ×{n}", denied: "the API key was not accepted",
  },
  zh: {
    title: "采集主站值班台", fleet: "概况",
    heat: "今日采集完整率（按终端）", loss: "线损", by_area: "分台区", by_line: "分线", by_bus: "母线", by_transformer: "变压器", by_region: "分区", by_voltage: "分压", commands: "控制命令", findings: "异常",
    access: "只读页面。仅向本机浏览器，或持有“read”权限 API 密钥者提供数据。",
    key_title: "API 密钥",
    key_text: "此浏览器不在主站本机。请输入具有“read”权限的 API 密钥；关闭标签页后不再保留。",
    key_use: "使用此密钥",
    terminals: "在线终端", meters: "电表", completeness: "今日已采集点", once: "日冻结一次成功率",
    open_commands: "未结命令", new_findings: "新异常", balances: "预付费余额",
    never_seen: "从未上线 {n}", all_online: "全部在线", no_terminals: "档案中没有", network: "网络不通", offline_n: "离线 {n}",
    areas_customers: "{a} 个台区，{c} 户", missing_of: "缺 {n} / {m}", all_there: "无缺失",
    once_more: "{day}：{n} / {m}", nothing_due: "尚无到期数据",
    awaiting: "待审批 {n}", unknown_n: "结果未知 {n}", under_way: "执行中", none_open: "无未结命令",
    alarms: "告警 {n}", warnings: "预警 {n}", quiet: "无新异常",
    to_stop: "欠费 {n}", to_warn: "余额不足 {n}", balances_ok: "余额充足", no_balances: "尚未测算",
    heat_note: "15 分钟时段，以时段末命名 · {n} 台终端", heat_note_cut: "缺失最多的 {k} 台，共 {n} 台",
    heat_empty: "档案中没有终端，请用 `headend archive import` 导入。",
    "c_not-asked": "待采集", c_offline: "终端离线", "c_not-published": "终端未上报", c_allowance: "流量用尽", "c_link-lost": "通信中断", "c_not-in-terminal": "终端未采到", "c_no-answer": "无应答", c_garbled: "校验错误",
    "c_missing-in-answer": "应答缺点", c_refused: "拒绝", c_expired: "已覆盖", "c_not-recorded": "无此记录",
    complete: "完整", not_due: "未到采集时间",
    cell: "{terminal} {name}，时段末 {slot}", cell_missing: "缺 {n} / {m}：{cause}", cell_full: "{m} 点齐全",
    cell_future: "未到采集时间", cell_none: "此时段无应采电表", seen: "最近通信 {at}", seen_never: "从未通信",
    online: "在线", offline: "离线",
    loss_note: "{day} · 损失电量 / 供电量，含上下界", loss_note_none: "尚未计算",
    loss_empty: "暂无线损：日冻结到齐后计算。",
    unknown: "未知", bounded: "仅有上下界", loss_detail: "供电 {s} kWh，售电 {d} kWh，损失 {l} kWh（{lo} 至 {hi}）",
    complete_of: "{m} 块表中 {n} 块完整",
    commands_note: "未结 {n} · 新者在前", commands_empty: "暂无命令。",
    h_number: "编号", h_action: "命令", h_meter: "电表", h_progress: "进度", h_state: "状态与结果", h_age: "申请",
    findings_note: "新 {n}", findings_empty: "暂无异常。每日数据到齐后运行规则。",
    acknowledged_by: "{who} 已确认", rule: "规则", day: "日期", found_at: "首次发现",
    reason: "原因", asked_by: "{who} 申请", approved_by: "{who} 审批", void_after: "{at} 后失效",
    relay_trip: "跳闸", relay_permit: "允许合闸", relay_close: "合闸", "relay_keep-power": "保电",
    "relay_end-keep-power": "解除保电", read_: "召测", clock_read: "读时钟", clock_set: "对时", diagnose_: "诊断",
    parameters_read: "读参数", parameters_write: "写参数", archive_read: "读档案", archive_write: "写档案",
    tasks_read: "读任务", tasks_write: "写任务",
    wanted: "待审批", approved: "已审批", sending: "下发中", answered: "已应答", pending: "表内待执行",
    unknown_state: "结果未知", verified: "已验证", failed: "失败", refused: "已拒绝", expired: "已过期", cancelled: "已撤销",
    track: "申请、审批、下发、应答、待执行、验证；当前：{state}",
    just_now: "刚刚", minutes: "{n} 分", hours: "{n} 小时", days: "{n} 天", ago: "{t}前",
    loading: "加载中…", fresh: "{n} 秒前更新", stale: "最后更新于 {n} 秒前", lost: "连接中断 {n} 秒",
    trouble: "主站无应答（{why}）。当前显示 {at} 的状态，正在重试。",
    trouble_first: "主站无应答（{why}），正在重试。",
    pace: "{n} 倍速", denied: "API 密钥未被接受",
  },
};

let language = "en";

export function speak(code) {
  language = code in WORDS ? code : "en";
}

export function spoken() {
  return language;
}

// word("missing_of", {n: 3, m: 20})
export function word(name, values = {}) {
  const text = WORDS[language][name] ?? WORDS.en[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}
