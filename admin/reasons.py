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
    (r"a group has (\d+) members at most", r"邮件组最多 \1 个成员"),
    (r"(.*): (?:belongs or )?belonged to somebody else and is not given out again yet", r"\1：曾属于他人，保留期内不再分配"),
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
    (r"mailbox exists already", "已有同名的共享邮箱"),
    (r"a name of one level", "名称不能含“/”"),
    (r"(?:mailbox name too long|empty level in mailbox name|character not allowed in mailbox name)", "邮箱名称过长，或含不允许的字符"),
    (r"directory not available, try again later", "目录暂时无法访问，请稍后再试"),
    (r"storage failure, try again later", "存储失败，请稍后再试"),
    (r"system busy, try again later", "系统繁忙，请稍后再试"),
    (r"(.*): not an address of this person", r"\1：不是此人的地址"),
    (r"(.*): is the primary address; make another one primary first", r"\1：是主地址，请先另设主地址"),
    (r"quota: must not be negative", "容量不能为负数"),
    (r"unit (.*): moved away", r"单位“\1”刚被移走，请重试"),
    (r"(.*): its parent is not there", r"\1：上级单位不存在"),
    (r"(.*): the id is taken", r"\1：编号已被占用"),
    (r"(.*): there are still domains in it", r"\1：还有邮件域由其负责"),
    (r"(.*): there are still addresses in it", r"\1：还有地址使用此邮件域"),
    (r"(.*): there are still .* in it", r"\1：其中还有单位、人员或邮件组"),
    (r"(.*): is still the domain of a unit", r"\1：仍是某单位的邮件域"),
    (r"(.*): make this entry by hand; .*", r"\1：请先在目录中手工建立此条目；govmail 只会建立 dc、ou、o、c"),
    (r"level (\d+): 1 province.*", r"级别 \1 无效：1 省、2 市、3 县、4 乡"),
    (r"(.*) is the root and cannot be moved", r"“\1”是根单位，不能移动"),
    (r"(.*) lies below (.*)", r"“\1”在“\2”之下，不能移到那里"),
    (r"member '(.*)': .*", r"成员“\1”写法有误"),
    (r"groups nest deeper than (\d+)", r"邮件组嵌套超过 \1 层"),
    (r"the group reaches more than (\d+)", r"邮件组的成员超过 \1 个"),
    # what the LDAP server says (directory.ldap.pool)
    (r"the directory does not know an attribute; .*", "目录不认识某个属性：请确认目录已加载 govmail.schema"),
    (r"the directory's schema does not allow this entry; .*", "目录的模式不允许此条目：请确认目录已加载 govmail.schema"),
    (r"the directory does not take one of the values", "目录不接受其中某个值"),
    (r"the directory does not take the name of the entry", "目录不接受此条目的名称"),
    (r"there are still entries below this one in the directory", "目录中该条目之下还有其他条目"),
    (r"the directory does not let govmail do this; .*", "目录不允许 govmail 执行此操作：请检查 bind_dn 的权限"),
    (r"the directory is read-only here; .*", "此处的目录为只读：请在目录的维护方修改"),
    (r"the directory has reached a limit of its own", "目录达到其自身的限制"),
    (r"the directory takes no changes at the moment", "目录目前不接受修改（只读或为副本）"),
    (r"the directory has failed; its log says why", "目录出错，原因见目录服务器的日志"),
    (r"(.*): not found", r"\1：不存在"),
    (r"not found", "不存在"),
    (r"not permitted", "不允许"),
    (r"bad input", "输入有误"),
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
