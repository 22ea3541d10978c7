"""What a delivery status notification says to people: reasons and advice in Chinese and English.

Invariants: every enhanced status code finds a text, the most specific one that there is; a text never contains
anything that came from outside.

RFC 3463 §3 (classes, subjects, details).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """Why, and what the sender can do, in both languages."""

    reason_zh: str
    advice_zh: str
    reason_en: str
    advice_en: str


# Keys: "subject.detail", else the subject, else "" for what nobody foresaw.
_ADVICE: dict[str, Advice] = {
    "1.1": Advice(
        "收件人地址不存在。", "请核对地址的拼写；如无误，请通过电话等方式向对方确认新地址。",
        "There is no such mailbox.", "Check the spelling, or ask the recipient for the present address."),
    "1.2": Advice(
        "收件人地址“@”后面的域名不存在或不接收邮件。", "请核对域名的拼写，例如是否漏写字母或写错后缀。",
        "The domain after the @ does not exist or takes no mail.", "Check the spelling of the domain."),
    "1.3": Advice(
        "收件人地址的格式不正确。", "请核对地址后重新发送。",
        "The address is not well-formed.", "Correct the address and send the message again."),
    "1.6": Advice(
        "收件人的邮箱已迁移，没有留下新地址。", "请向对方询问新地址。",
        "The mailbox has moved and left no new address.", "Ask the recipient for the new address."),
    "1.8": Advice(
        "对方服务器不接受您的发件地址。", "请将本通知转给本单位的邮箱管理员。",
        "The other server does not accept your address as a sender.", "Forward this notice to your administrator."),
    "1.10": Advice(
        "收件人的域名声明不接收任何邮件。", "请核对域名，或向对方询问可用的地址。",
        "The recipient's domain declares that it takes no mail.", "Check the domain, or ask for another address."),
    "2.1": Advice(
        "收件人的邮箱已停用。", "请联系收件人或其单位确认。",
        "The mailbox is disabled.", "Contact the recipient or the organisation in another way."),
    "2.2": Advice(
        "收件人的邮箱已满。", "请通知收件人清理邮箱，之后再重新发送。",
        "The mailbox is full.", "Tell the recipient to make room, then send the message again."),
    "2.3": Advice(
        "邮件超过收件人邮箱允许的大小。", "请压缩或拆分附件后重新发送。",
        "The message is larger than the mailbox accepts.", "Make the attachments smaller, or split them."),
    "2": Advice(
        "收件人的邮箱暂时或永久不能接收此邮件。", "请联系收件人确认。",
        "The mailbox cannot take this message.", "Contact the recipient in another way."),
    "3.4": Advice(
        "邮件太大，对方服务器不接收。", "请压缩或拆分附件后重新发送。",
        "The message is too big for the other server.", "Make the attachments smaller, or split them."),
    "3": Advice(
        "对方邮件系统出现故障或不接收此邮件。", "请稍后重新发送；如仍失败，请联系收件人。",
        "The other mail system failed or does not take this message.", "Try again later, or contact the recipient."),
    "4.1": Advice(
        "无法连接对方邮件服务器。", "请稍后重新发送；如仍失败，请联系收件人单位。",
        "The other mail server does not answer.", "Try again later, or contact the recipient's organisation."),
    "4.2": Advice(
        "与对方邮件服务器的连接中断。", "请稍后重新发送；如仍失败，请联系收件人单位。",
        "The connection to the other mail server broke.", "Try again later, or contact the recipient's organisation."),
    "4.3": Advice(
        "域名或目录查询暂时失败。", "请稍后重新发送；如仍失败，请联系本单位的邮箱管理员。",
        "A directory or name server could not be asked.", "Try again later, or contact your administrator."),
    "4.4": Advice(
        "找不到可以投递的邮件服务器。", "请核对收件人的域名；如无误，请联系收件人单位。",
        "No mail server was found for the recipient's domain.", "Check the domain, or contact the organisation."),
    "4.6": Advice(
        "邮件在服务器之间循环转发。", "请将本通知转给本单位的邮箱管理员。",
        "The message runs in a loop between servers.", "Forward this notice to your administrator."),
    "4.7": Advice(
        "在规定的期限内未能送达。", "请稍后重新发送，或用其他方式联系收件人。",
        "The message could not be delivered in the allowed time.", "Try again, or contact the recipient in another way."),
    "4": Advice(
        "网络或路由故障，邮件未能送达。", "请稍后重新发送；如仍失败，请联系本单位的邮箱管理员。",
        "A network or routing problem prevented delivery.", "Try again later, or contact your administrator."),
    "5.3": Advice(
        "一次发送的收件人过多。", "请分批发送。",
        "There were too many recipients at once.", "Send the message to fewer people at a time."),
    "5": Advice(
        "两台邮件服务器之间的协议不一致。", "请将本通知转给本单位的邮箱管理员。",
        "The mail servers did not understand each other.", "Forward this notice to your administrator."),
    "6.7": Advice(
        "对方服务器不支持中文等国际化邮箱地址。", "请改用英文字母的地址发送。",
        "The other server does not support internationalised addresses.", "Use addresses in plain ASCII letters."),
    "6": Advice(
        "对方服务器不接受邮件的格式或内容编码。", "请以纯文本或其他格式重新发送。",
        "The other server does not accept the format of the message.", "Send it again in another format."),
    "7.1": Advice(
        "对方的安全策略拒收此邮件。", "请核对邮件内容与附件类型；如有疑问，请将本通知转给本单位的邮箱管理员。",
        "The message was refused by policy.", "Check contents and attachments, or forward this notice to your administrator."),
    "7": Advice(
        "由于安全或认证方面的原因被拒收。", "请将本通知转给本单位的邮箱管理员。",
        "The message was refused for security reasons.", "Forward this notice to your administrator."),
    "": Advice(
        "对方没有说明具体原因，详见下面的服务器答复。", "请稍后重新发送，或用其他方式联系收件人。",
        "No particular reason was given; see the reply below.", "Try again later, or contact the recipient in another way."),
}  # fmt: skip


def advice_for(status: str) -> Advice:
    """The most specific text for an enhanced status code such as "5.1.1"."""
    _, _, rest = status.partition(".")
    subject, _, _ = rest.partition(".")
    return _ADVICE.get(rest) or _ADVICE.get(subject) or _ADVICE[""]


HEADINGS_ZH = {
    "failed": ("退信通知：邮件未能送达", "您的邮件未能送达下列收件人："),
    "delayed": ("延迟通知：邮件尚未送达", "您的邮件尚未送达下列收件人，系统会继续尝试，您无需重新发送："),
    "delivered": ("送达通知", "您的邮件已送达下列收件人的邮箱："),
    "relayed": ("转发通知", "您的邮件已转交下列收件人的邮件系统，但该系统不再提供送达通知："),
    "expanded": ("送达通知", "您的邮件已送达下列邮件组并分发给其成员："),
}

HEADINGS_EN = {
    "failed": ("Undelivered mail", "Your message could not be delivered to:"),
    "delayed": ("Delayed mail", "Your message has not been delivered yet. There is no need to send it again; we go on trying:"),
    "delivered": ("Delivered mail", "Your message has been delivered to:"),
    "relayed": ("Relayed mail", "Your message was handed to a mail system that sends no delivery notices:"),
    "expanded": ("Delivered mail", "Your message has been delivered to a list and sent on to its members:"),
}
