"""Clauses on what a probe of a mirror has met, each with its texts.

Read after "{address}: …", or by themselves. `evidence.py` has the sentences.
"""

from __future__ import annotations

from enum import Enum, unique

from monitor.common.languages import Text


@unique
class Clause(Enum):
    """The catalogue of clauses, Chinese and English; no name is also a `Code`."""

    _value_: Text

    # Steps of a probe

    not_probed = Text("尚未探测", "not probed")
    name_unknown = Text(
        "解析器称该域名不存在", "the resolver says that the host name does not exist"
    )
    name_without_address = Text(
        "解析器称该域名没有地址", "the resolver says that the host name has no address"
    )
    name_private = Text(
        "域名只解析到内网地址（`allow_private = true` 可放行）",
        "the host name resolves to private addresses only (`allow_private = true` permits that)",
    )
    resolver_gave_nothing = Text("解析器没有给出应答", "the resolver gave no answer")
    resolver_too_late = Text("解析器过慢或无响应", "the resolver is slow, or silent")
    name_unresolved = Text("域名无法解析", "the host name cannot be resolved")
    refuses = Text("连接被拒绝", "connection refused")
    reset_while_opened = Text("建立连接时被重置", "connection reset while it was opened")
    nothing_answers = Text("对连接请求没有任何回应", "no reply to the connection attempt")
    address_unreachable = Text("地址不可达", "address unreachable")
    no_route = Text("没有到该地址的路由", "no route to the address")
    network_down = Text("本机网络已断开", "this machine's network is down")
    out_of_resources = Text(
        "本机没有剩余的文件描述符或内存可供探测",
        "this machine has no descriptor or no memory left for probes",
    )
    no_connection = Text("无法建立连接", "no connection can be opened")
    hello_reset = Text("发出 ClientHello 后连接被重置", "connection reset after the ClientHello")
    hello_closed = Text("发出 ClientHello 后连接被关闭", "connection closed after the ClientHello")
    hello_alert_too_soon = Text(
        "TLS 告警（{alert}）来得太快，不可能由服务器发出",
        "a TLS alert ({alert}) came sooner than the server can have sent it",
    )
    hello_silence = Text("发出 ClientHello 后没有任何回应", "no reply to the ClientHello")
    handshake_reset = Text(
        "TLS 握手进行到一半时被重置", "connection reset within the TLS handshake"
    )
    handshake_fails = Text("TLS 握手失败", "the TLS handshake failed")
    ca_file_unreadable = Text("无法读取该镜像的 `ca_file`", "the mirror's `ca_file` cannot be read")
    certificate_of_another = Text("证书与域名不符", "the certificate is for another host name")
    certificate_untrusted = Text(
        "证书的签发机构不受信任", "the certificate's issuer is not trusted"
    )
    certificate_refused = Text("证书无效", "the certificate is not valid")
    certificate_over = Text("证书已过期", "the certificate has expired")
    plain_page = Text(
        "对 ClientHello 返回明文 HTTP：是封锁页面，或端口有误",
        "plain HTTP in reply to the ClientHello: a block page, or a wrong port",
    )
    name_refused = Text(
        "拒绝为该域名建立 TLS（告警 {alert}）：服务器上是否配置了该域名？",
        "TLS refused for this name (alert {alert}): is it set up on the server?",
    )
    tls_incompatible = Text(
        "服务器不支持本机使用的 TLS 版本、加密套件或应用层协议（告警 {alert}）",
        "the server supports no TLS version, cipher or application protocol that is offered "
        "(alert {alert})",
    )
    client_certificate = Text("服务器要求客户端证书", "the server asks for a client certificate")
    request_reset = Text("发出请求后连接被重置", "connection reset after the request")
    response_cut = Text(
        "应答未完成时连接被关闭", "connection closed before the response was complete"
    )
    request_unanswered = Text("请求没有及时得到应答", "no response to the request in time")
    request_lost = Text("握手之后请求没有到达", "the request did not arrive after the handshake")
    lost_unlike_control = Text(
        "握手之后数据丢失，而对照域名的没有",
        "the packets after the handshake are lost, those of a control name are not",
    )
    not_http = Text("应答不是 HTTP/1", "the response is not HTTP/1")
    request_fails = Text("请求失败", "the request failed")

    # Responses

    challenge = Text(
        "CDN 要求只有浏览器能通过的人机验证",
        "the CDN asks for a challenge that only a browser solves",
    )
    origin_too_slow = Text(
        "CDN 等待源站超时（524）", "the CDN gets no response from its origin in time (524)"
    )
    origin_unreachable = Text(
        "CDN 无法连接源站（{status}：{why}）", "the CDN cannot reach its origin ({status}: {why})"
    )
    origin_odd = Text("源站的应答无法识别", "the origin's answer is not understood")
    origin_refuses = Text("源站拒绝连接", "the origin refuses the connection")
    origin_silent = Text("连接源站超时", "the connection to the origin timed out")
    origin_unrouted = Text("没有到源站的路由", "there is no route to the origin")
    origin_tls = Text("与源站的 TLS 握手失败", "the TLS handshake with the origin fails")
    origin_certificate = Text("源站的证书无效", "the origin's certificate is not valid")
    origin_lost = Text("CDN 找不到源站", "the CDN does not find the origin")
    cdn_limits = Text("CDN 限制本机的请求频率（1015）", "the CDN limits this machine's rate (1015)")
    cdn_denies = Text("CDN 拒绝本机访问（{code}）", "the CDN denies this machine access ({code})")
    answers = Text("返回 {status}", "the server answers {status}")
    redirects = Text(
        "返回跳转（{status}），而不是应答", "a redirect ({status}) instead of an answer"
    )
    answers_otherwise = Text(
        "返回 {status} 和{kind}，不是 API", "status {status} with {kind}, not the API"
    )
    html_page = Text("一个 HTML 页面", "an HTML page")
    some_text = Text("一段文本", "a text")
    empty_body = Text("空内容", "nothing")
    not_on_list = Text(
        "本机地址不在账户的白名单中", "this machine's address is not on the account's list"
    )
    own_key_refused = Text(
        "不接受镜像自己的密钥（401）", "the mirror's own key is not accepted (401)"
    )
    region_not_served = Text(
        "状态码 {status}，错误码 {code}：API 不向镜像服务器所在的国家或地区提供服务",
        "status {status}, error {code}: the API does not serve the region of the mirror's server",
    )
    quota_used_up = Text(
        "状态码 {status}，错误码 {code}：账户的额度已用尽",
        "status {status}, error {code}: the account's quota is used up",
    )
    limits_rate = Text("限制探测频率（429）", "the rate of probes is limited (429)")
    refuses_probe = Text("拒绝探测请求（403）", "the probe is refused (403)")
    answers_as_another_api = Text(
        "以另一种 API 的方式返回 {status}", "status {status}, as another API gives it"
    )
    answers_oddly = Text(
        "对不带密钥的请求返回 {status}", "status {status} for a request without a key"
    )
