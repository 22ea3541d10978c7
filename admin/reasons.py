"""What the directory and the store say about an operator's mistake, in Chinese.

They speak English, as they know no operator; here their sentences are recognised and said again. One that is not known
stays as it is: an English reason is better than none.
"""

from __future__ import annotations

import re

from admin.texts import language
from govmail.errors import MailError

# The whole English sentence, and how it is said in Chinese.
_SENTENCES: tuple[tuple[str, str], ...] = (
    (r"password: must not be empty", "密码不能为空"),
    (r"password: not Unicode text", "密码不是有效的 Unicode 文本"),
    (r"password: no NUL, at most (\d+) octets", r"密码不能含 NUL，最多 \1 字节"),
    (r"password: at least (\d+) characters", r"密码太短：至少 \1 个字符"),
    (r"password: one of those that are tried first", "密码过于常见，容易被猜中"),
    (r"password: must not contain a name", "密码不能包含姓名或账号"),
    (r"password: three of capital letters.*; or (\d+) characters", r"密码须含大写字母、小写字母、数字、其他字符中的三类，或至少 \1 个字符"),
    (r"label '(.*)': .*at most (\d+)", r"标签“\1”：只可用小写字母、数字和中间的连字符，最多 \2 个"),
    (r"path '(.*)': names from the root.*", r"路径“\1”：从根单位写起，用“/”分隔"),
    (r"domain '(.*)': needs at least two labels", r"邮件域“\1”：至少两级"),
    (r"domain '(.*)': .*", r"邮件域“\1”写法有误"),
    (r"(.*): its domain is not one of ours", r"\1：其邮件域不属于本系统，先执行 govmail domain add"),
    (r"(.*): belonged to somebody else and is not given out again yet", r"\1：曾属于他人，保留期内不再分配"),
    (r"(.*): belongs to another unit", r"\1：已属于其他单位"),
    (r"(.*) exists already in that place", r"该处已有 \1"),
    (r"(.*): exists already", r"\1：已存在"),
    (r"exists already", "已存在"),
    (r"there is a root already", "已有根单位，只能有一个"),
    (r"unit (.*): not found", r"没有单位“\1”"),
    (r"(?:person|member) (.*): not found", r"没有人员或地址“\1”"),
    (r"group (.*): not found", r"没有邮件组“\1”"),
    (r"domain (.*): not found", r"没有邮件域“\1”"),
    (r"(.*): given twice", r"\1：重复"),
    (r"(.*): longer than (\d+) characters", r"\1：超过 \2 个字符"),
    (r"(.*): must not be empty", r"\1：不能为空"),
    (r"(.*): holds '/', a control or an invisible character", r"\1：含“/”、控制字符或不可见字符"),
    (r"level \d+ cannot lie below (.*) of level \d+", r"不能放在“\1”之下：地区由大到小"),
    (r"(.*): the tree is (\d+) levels deep at most", r"\1：最多 \2 级"),
    (r"directory not available, try again later", "目录暂时无法访问，请稍后再试"),
    (r"storage failure, try again later", "存储失败，请稍后再试"),
    (r"system busy, try again later", "系统繁忙，请稍后再试"),
    (r"bad (?:address syntax|local part|domain.*)", "写法有误"),
)  # fmt: skip
_KNOWN = tuple((re.compile(pattern, re.DOTALL), chinese) for pattern, chinese in _SENTENCES)


def explain(error: MailError) -> str:
    """The error's text in the language of the request."""
    if language() != "zh":
        return error.public
    for pattern, chinese in _KNOWN:
        if found := pattern.fullmatch(error.public):
            return found.expand(chinese)
    return error.public
