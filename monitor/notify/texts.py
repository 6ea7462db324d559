"""Sentences of notifications, in both languages."""

from __future__ import annotations

from monitor.common.languages import Text
from monitor.diagnosis.finding import Level
from monitor.diagnosis.telling import what

TEST = Text(
    "这是一条测试消息：通知配置正确。",
    "This is a test message: notifications are set up correctly.",
)
NOTHING_SERVES = Text(
    "没有可用的镜像：全部不可用，正在尝试情况最好的几个。请检查本机网络与各镜像。",
    "No mirror is in rotation: all are down, and the least bad are tried. "
    "Check this machine's network and the mirrors.",
)
SERVES_AGAIN = Text("又有镜像可用了。", "A mirror is in rotation again.")
RELOADED = Text("配置已成功重新载入。", "The configuration was reloaded successfully.")


_TESTED = Text("（仍在验证）", " (being tested)")


def _words(verdict: str, level: str = Level.suspected) -> Text:
    return Text(what(verdict, "zh", level), what(verdict, "en", level))


def down(name: str, verdict: str, serving: int) -> Text:
    """A mirror is down; `serving`: mirrors that are in rotation."""
    words = _words(verdict)
    zh = f"{name} 不可用：{words.zh}。"
    en = f"{name} is down: {words.en}."
    if serving:
        verb = "serves" if serving == 1 else "serve"
        zh += f"其余 {serving} 个镜像正常服务。"
        en += f" {serving} other{'s' if serving > 1 else ''} {verb}."
    return Text(zh, en)


def up(name: str, seconds: float | None) -> Text:
    """A mirror is back, after so long; None: not known."""
    if seconds is None:
        return Text(f"{name} 已恢复。", f"{name} is up again.")
    zh, en = _span(seconds)
    return Text(f"{name} 已恢复，中断 {zh}。", f"{name} is up again after {en}.")


def down_from(name: str, vantage: str, verdict: str) -> Text:
    """A mirror is down as another instance sees it, and works from here."""
    words = _words(verdict)
    return Text(
        f"从 {vantage} 访问 {name} 不可用，从这里访问正常：{words.zh}。",
        f"{name} is down from {vantage}, and works from here: {words.en}.",
    )


def up_from(name: str, vantage: str) -> Text:
    """The other instance sees it up again."""
    return Text(f"从 {vantage} 访问 {name} 已恢复。", f"{name} is up again from {vantage}.")


def blocked(name: str, hostname: str, verdict: str, confirmed: bool, elsewhere: bool) -> Text:
    """A name seems to be blocked on the path; `elsewhere`: another path to the mirror is usable."""
    words = _words(verdict, Level.confirmed if confirmed else Level.suspected)
    sure = Text("", "") if confirmed else _TESTED
    way = (
        Text("流量走该镜像的其他路径。", "Its traffic takes another path.")
        if elsewhere
        else Text(
            "该镜像没有其他路径；可为它配置 hostnames 或 addresses。",
            "It has no other path: configure hostnames or addresses for it.",
        )
    )
    return Text(
        f"{name} 的域名 {hostname}：{words.zh}{sure.zh}。{way.zh}",
        f"{name}, name {hostname}: {words.en}{sure.en}. {way.en}",
    )


def unblocked(name: str) -> Text:
    """No name of the mirror is blocked any more."""
    return Text(f"{name} 的域名不再受阻。", f"{name}: no name of it is blocked any more.")


def certificate(name: str, hostname: str, seconds: float) -> Text:
    """A certificate ends after so many seconds, or has ended."""
    if seconds <= 0:
        return Text(
            f"{name} 的证书（{hostname}）已过期，请续期。",
            f"The certificate of {name} ({hostname}) has expired: renew it.",
        )
    zh, en = _span(seconds)
    return Text(
        f"{name} 的证书（{hostname}）将在 {zh}后到期，请续期。",
        f"The certificate of {name} ({hostname}) ends in {en}: renew it.",
    )


def renewed(name: str) -> Text:
    """A certificate that was about to end was renewed."""
    return Text(f"{name} 的证书已续期。", f"The certificate of {name} was renewed.")


def reload_failed(problem: str) -> Text:
    """The newest configuration file is not in use."""
    return Text(
        f"新配置有误，未被采用，继续使用原配置：{problem}",
        f"The new configuration is not in use, the last good one is: {problem}",
    )


def ban_spike(bans: int, minutes: int, reason: str) -> Text:
    """Many clients were banned in a short time; `reason`: that of most of them."""
    return Text(
        f"{minutes} 分钟内自动封禁了 {bans} 个客户端，多数因为 {reason}。"
        "用 mirrorgate bans list 查看。",
        f"{bans} clients were banned within {minutes} minutes, most for {reason}: "
        "see `mirrorgate bans list`.",
    )


def key_quota(name: str, key_id: str, percent: int) -> Text:
    """An issued key has used so much of its quota."""
    if percent >= 100:
        return Text(
            f"密钥 {name}（{key_id}）的额度已用完，其请求将被拒绝。",
            f"The quota of key {name} ({key_id}) is used up: its requests are refused.",
        )
    return Text(
        f"密钥 {name}（{key_id}）的额度已用 {percent}%。",
        f"The key {name} ({key_id}) has used {percent} % of its quota.",
    )


def topped_up(name: str, key_id: str) -> Text:
    """A key has quota again."""
    return Text(f"密钥 {name}（{key_id}）已有余额。", f"The key {name} ({key_id}) has quota again.")


def changes(count: int) -> Text:
    """Number of changes since the last message."""
    return Text(f"（期间变化 {count} 次）", f"({count} changes meanwhile)")


def more(count: int) -> Text:
    """Lines that are left out."""
    return Text(f"……另有 {count} 条", f"… and {count} more")


def title(count: int) -> Text:
    """The heading of several changes."""
    return Text(f"{count} 项变化", f"{count} changes")


def _span(seconds: float) -> Text:
    minutes = seconds / 60.0
    if minutes < 1.5:
        number = max(1, round(seconds))
        return Text(f"{number} 秒", f"{number} s")
    if minutes < 90.0:
        return Text(f"{minutes:.0f} 分钟", f"{minutes:.0f} min")
    hours = minutes / 60.0
    if hours < 48.0:
        return Text(f"{hours:.0f} 小时", f"{hours:.0f} h")
    return Text(f"{hours / 24:.0f} 天", f"{hours / 24:.0f} days")
