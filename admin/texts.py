"""What operators read, in Chinese and English: one catalogue for acts, commands and the control socket.

Invariants: every entry has both languages with the same placeholders (a test compares them); the language belongs to
the request, so one server answers two operators in two languages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from govmail.wire.control import Language

_language: ContextVar[Language] = ContextVar("language", default="en")


def language() -> Language:
    return _language.get()


def set_language(value: Language) -> None:
    """For the rest of this task (or of the process, from a command line)."""
    _language.set(value)


@contextmanager
def speaking(value: Language) -> Iterator[None]:
    token = _language.set(value)
    try:
        yield
    finally:
        _language.reset(token)


def locale_language(environ: Mapping[str, str] = os.environ) -> Language:
    """The language of a POSIX environment: the first of LC_ALL, LC_MESSAGES, LANG that is set decides."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def say(key: str, /, **values: object) -> str:
    """The entry in the language of the request."""
    zh, en = CATALOGUE[key]
    return (zh if language() == "zh" else en).format(**values)


def choose(zh: str, en: str) -> str:
    return zh if language() == "zh" else en


# One line per text: key, Chinese, English.
CATALOGUE: dict[str, tuple[str, str]] = {
    # what a request may be refused for
    "not_operator": (
        "只有运行服务器的系统用户或 root 可以执行此操作（您的 uid：{uid}）",
        "only the server's own system user or root may do this (your uid: {uid})",
    ),
    "unknown_act": ("没有操作 {act}：命令行与服务器版本不一致？", "no act {act}: are command line and server of one version?"),
    "bad_argument": ("参数 {name}：{reason}", "argument {name}: {reason}"),
    "input_too_large": ("输入为 {octets} 字节，上限为 {limit}：请分批导入", "the input has {octets} octets, the limit is {limit}: import it in parts"),
    "input_late": ("等待输入超时", "the input did not come in time"),
    "incident": ("内部错误，日志编号 {incident}", "internal error, incident {incident} in the log"),
    "too_many_operators": ("同时连接的操作过多，请稍后再试", "too many operators at once, try again"),
    # directory
    "unit_unknown": ("没有单位“{unit}”：请用 govmail unit tree 查看", "no unit {unit!r}: see govmail unit tree"),
    "no_units": ("还没有任何单位：先执行 govmail unit add 江西省", "there is no unit yet: first run govmail unit add 江西省"),
    "unit_path_empty": ("单位路径为空：写作 江西省/赣州市/发改委", "the unit path is empty: write 江西省/赣州市/发改委"),
    "unit_needed": ("请用 --unit 指明单位", "name the unit with --unit"),
    "name_needed": ("请写明姓名，或用 --from-file 批量导入", "give a name, or a table with --from-file"),
    "person_unknown": ("没有人员或地址“{person}”", "no person or address {person!r}"),
    "group_unknown": ("没有邮件组“{group}”", "no group {group!r}"),
    "address_bad": ("地址“{address}”：{reason}", "address {address!r}: {reason}"),
    "address_taken": ("地址 {address} 已属于 {owner}", "address {address} belongs to {owner} already"),
    "domain_foreign": (
        "{domain} 不是本系统的邮件域：先执行 govmail domain add {domain}",
        "{domain} is no mail domain of this system: first run govmail domain add {domain}",
    ),
    "domain_none": (
        "单位“{unit}”及其上级都没有邮件域：用 --address 写明地址，或先执行 govmail domain add … --unit {unit}",
        "neither unit {unit!r} nor a unit above it has a mail domain: give --address, or first run govmail domain add … --unit {unit}",
    ),
    "password_stdin": ("标准输入没有密码：每次从标准输入读一行", "no password on standard input: one line is read"),
    "member_bad": ("成员“{member}”：{reason}", "member {member!r}: {reason}"),
    "size_bad": ("大小“{text}”：写作 500M、2G，0 或 none 表示不限", "size {text!r}: write 500M or 2G; 0 or none for no limit"),
    "usage": ("共用 {used}，上限 {limit}", "{used} used of {limit}"),
    "usage_free": ("共用 {used}，不限容量", "{used} used, no limit"),
    "members_none": ("没有成员：用 --member 或 --members-file", "no members: give --member or --members-file"),
    "members_many": ("成员超过 {limit} 个", "more than {limit} members"),
    "names_used_up": ("{domain} 中没有可用于“{name}”的地址：用 --address 写明", "no free address for {name!r} in {domain}: give --address"),
    # imported tables
    "row_error": ("第 {row} 行，{field}：{reason}", "row {row}, {field}: {reason}"),
    "row_columns": ("第 {row} 行有 {found} 列，表头有 {expected} 列", "row {row} has {found} columns, the header has {expected}"),
    "table_empty": ("文件为空：第一行写列名，用制表符分隔", "the file is empty: its first line names the columns, separated by TAB"),
    "table_utf8": ("第 {row} 行不是 UTF-8：请先转换编码，例如 iconv -f GB18030 -t UTF-8", "row {row} is not UTF-8: convert it first, e.g. iconv -f GB18030 -t UTF-8"),
    "table_line_long": ("第 {row} 行超过 {limit} 字节", "row {row} is longer than {limit} octets"),
    "column_unknown": ("第 1 行：没有列“{column}”；可用的列：{columns}", "row 1: no column {column!r}; columns are {columns}"),
    "column_twice": ("第 1 行：列“{column}”出现两次", "row 1: column {column!r} stands there twice"),
    "column_missing": ("第 1 行：缺少列“{column}”", "row 1: column {column!r} is missing"),
    "value_missing": ("此处不能为空", "must not be empty"),
    "batch_twice": ("第 {other} 行已使用此地址", "row {other} has this address already"),
    "seat_exists_elsewhere": ("地址已属于 {unit} 的 {name}", "the address belongs to {name} of {unit} already"),
    "capability_unknown": ("不能关闭 {names}；可关闭的能力：{known}", "cannot be switched off: {names}; these can: {known}"),
    "capability_both": ("{names} 同时出现在 --off 和 --on 中", "{names}: both --off and --on"),
    # queue and quarantine
    "entry_unknown": ("队列中没有 {entry}", "nothing called {entry} in the queue"),
    "item_unknown": ("隔离区没有编号 {item}", "no item {item} in quarantine"),
    "item_recipient": ("编号 {item} 没有收件人 {address}", "item {item} has no recipient {address}"),
    "item_done": ("编号 {item} 已没有待处理的收件人", "item {item} has no recipient that is still held"),
    "virus_release": (
        "编号 {item} 含病毒（{threats}）：放行须由两名不同的审核员批准，目前只能删除",
        "item {item} contains a virus ({threats}): a release needs two different reviewers, until then it can only be deleted",
    ),
    # audit
    "audit_broken": ("审计链在第 {seq} 条断裂：该条或其前一条被改动或删除", "the audit chain breaks at entry {seq}: it or the one before it was changed or deleted"),
    "audit_whole": ("审计链完整，共 {count} 条", "the audit chain is whole, {count} entries"),
    # the command line
    "error": ("错误：{text}", "error: {text}"),
    "warning": ("警告：{text}", "warning: {text}"),
    "dry_run": ("试运行：未作任何改动", "dry run: nothing was changed"),
    "no_config": ("没有 {path}：用 --data 或 --config 指明，或先执行 govmail up", "there is no {path}: name it with --data or --config, or first run govmail up"),
    "unreachable": ("服务器占用 {path}，但控制套接字无应答", "a server owns {path} but does not answer on its control socket"),
    "connection_lost": ("与服务器的连接中断，操作结果未知：请检查后重试", "the connection to the server was lost, the outcome is not known: look, then repeat"),
    "not_yours": ("{path}：{reason}；请以运行服务器的系统用户执行", "{path}: {reason}; run this as the server's system user"),
    "file_unreadable": ("{path}：{reason}", "{path}: {reason}"),
    "password_once": ("密码只显示这一次", "the password is shown this once"),
    "importing": ("导入", "importing"),
    # doctor
    "probe_subject": ("govmail 自检", "govmail probe"),
    "clock_unset": ("系统时钟未设置：{now}", "the clock was never set: {now}"),
    "clock_back": ("时钟比审计记录慢 {seconds} 秒", "the clock is {seconds} s behind the audit trail"),
    "disk_free": ("剩余 {free} GB，共 {total} GB", "{free} GB free of {total} GB"),
    "certificate_expired": ("证书不在有效期内（至 {until}）", "the certificate is not valid now (until {until})"),
    "certificate_days": ("证书还有 {days} 天到期", "valid for {days} more days"),
    "certificate_self": ("自签名证书，还有 {days} 天到期：客户端会警告", "self-signed, valid for {days} more days: clients will warn"),
    "hostname_local": (
        "本机名“{hostname}”不是完整域名，其他服务器找不到它，MX 和 SPF 记录无效：请在 govmail.toml 开头设置 hostname = \"mail.您的域名\"，再重新启动",
        "the host name {hostname!r} is not a fully qualified domain name: no other server finds it, and MX and SPF records with it are useless; "
        "set hostname = \"mail.your-domain\" at the top of govmail.toml and restart",
    ),
    "certificate_name": ("证书不含本机名 {hostname}", "the certificate is not for {hostname}"),
    "key_open": ("{path} 可被他人读取：chmod 600", "{path} can be read by others: chmod 600"),
    "database_counts": ("可读写，{messages} 封邮件", "reads and writes, {messages} messages"),
    "directory_counts": ("单位 {units}，人员 {people}，邮件组 {groups}，邮件域 {domains}", "{units} units, {people} people, {groups} groups, {domains} domains"),
    "server_down": ("服务器没有运行：先执行 govmail up（数据目录 {path}）", "the server does not run: start it with govmail up (data in {path})"),
    "directory_child": (
        "LDAP 目录没有运行：slapd 只在 govmail up 运行期间启动，请先在另一终端执行 govmail up",
        "the directory does not run: slapd lives only while govmail up runs; start that first, in another terminal",
    ),
    "schema_other": ("数据库结构为 {found}，本程序需要 {ours}：请用同一版本", "the database has schema {found}, this program works with {ours}: use one version"),
    "postmaster_answers": ("每个邮件域都有人接收 postmaster 的邮件", "reaches somebody in every domain"),
    "postmaster_silent": (
        "{count} 个邮件域的 postmaster 无人接收：{domains}；请在配置 [directory] 中设置 administrators",
        "reaches nobody in {count} domains: {domains}; name administrators in [directory] of the configuration",
    ),
    "engine_absent": ("没有安装：不经过它运行，邮件标为“未扫描”", "not installed: runs without it, mail is marked unscanned"),
    "engine_down": ("未就绪（{state}），已重启 {restarts} 次：见 log 目录", "not ready ({state}), restarted {restarts} times: see the log directory"),
    "engine_restarts": ("{version}，已重启 {restarts} 次：见 log 目录", "{version}, restarted {restarts} times: see the log directory"),
    "engine_no_dns": ("没有可用的 DNS：来信的 SPF、DKIM、DMARC 不作验证", "no DNS: SPF, DKIM and DMARC of incoming mail are not verified"),
    "engine_no_signatures": (
        "{path} 中没有病毒特征库，只能查出 EICAR 测试文件：请运行 freshclam 后重启",
        "no signatures in {path}: only the EICAR test file is found; run freshclam, then restart",
    ),
    "gaps_hidden": (
        "{version} 不报告未能检查的内容，会当作无毒：请开启 AlertExceedsMax、AlertEncryptedArchive、AlertEncryptedDoc",
        "{version} calls clean what it could not look into: set AlertExceedsMax, AlertEncryptedArchive and AlertEncryptedDoc",
    ),
    "no_greeting": ("连接后没有问候语", "no greeting"),
    "plain_login": ("{where} 允许不加密登录：只可用于测试", "{where} allows logins without TLS: for tests only"),
    "signatures_test": ("{version}：只有测试特征库，查不出真正的病毒：请运行 freshclam", "{version}: test signatures only, real viruses are not found: run freshclam"),
    "signatures_age": ("{version}，特征库为 {days} 天前", "{version}, signatures {days} days old"),
    "probe_none": ("没有单位或邮件域，无法收发测试邮件：先执行 govmail unit add 和 govmail domain add", "no unit or mail domain yet, so no mail can be sent: first govmail unit add and govmail domain add"),
    "probe_listener": ("没有 {protocol} 监听，无法收发测试邮件", "nothing listens for {protocol}, so no mail can be sent and fetched"),
    "probe_account": ("测试账户 {address}", "probe account {address}"),
    "probe_refused": ("服务器拒绝：{answer}", "the server refused: {answer}"),
    "probe_missing": ("{seconds} 秒内邮件未到达", "the mail did not arrive within {seconds} s"),
    "probe_arrived": ("邮件在 {mailbox} 中", "the mail is in {mailbox}"),
    "probe_removed": ("测试邮件已删除", "the probe mail is removed"),
    "doctor_ok": ("一切正常", "all is well"),
    "doctor_warnings": ("可用，{count} 项警告", "works, {count} warnings"),
    "doctor_failed": ("{count} 项失败", "{count} checks failed"),
}

# Words that results hold, as a Chinese terminal shows them; programs always get the English ones.
WORDS: dict[str, str] = {
    "active": "在用", "suspended": "暂停", "disabled": "停用",
    "added": "已新建", "exists": "已存在", "extended": "已补充", "error": "有误",
    "done": "完成", "refused": "拒绝", "failed": "失败", "ok": "正常", "warning": "警告",
    "ready": "待发", "leased": "发送中", "held": "保留", "released": "已放行", "deleted": "已删除", "expired": "已过期",
    "retried": "已重试", "missing": "不存在", "virus": "病毒", "spam": "垃圾邮件", "policy": "规则", "unscannable": "无法扫描",
    "person": "人员", "group": "邮件组", "remote": "外部", "local": "本地", "list": "邮件组", "bounce": "退信",
}  # fmt: skip
