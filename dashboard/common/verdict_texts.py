"""Meaning of the monitor's verdicts for a reader, as (Chinese, English).

What interferes is only ever "on the path", and only likely: never a country, never an actor.
"""

from __future__ import annotations

from collections.abc import Mapping

VERDICTS: Mapping[str, tuple[str, str]] = {
    "ok": ("正常", "works"),
    "unknown": ("尚无结论", "no conclusion yet"),
    "local_network_down": ("监测点自身断网", "the monitor itself is offline"),
    "dns_down": ("域名无法解析", "the name does not resolve"),
    "dns_bogon": ("域名解析到内网地址", "the name resolves to private addresses"),
    "dns_blocked": (
        "本地解析很可能被阻断",
        "local name resolution is blocked on the path (likely)",
    ),
    "dns_poisoned": (
        "域名应答很可能是伪造的",
        "answers to name queries are forged on the path (likely)",
    ),
    "dns_injection": (
        "链路上很可能注入了域名应答",
        "answers to name queries are injected on the path (likely)",
    ),
    "dns_inconsistent": ("各解析器结果不一致", "resolvers disagree"),
    "connection_refused": ("连接被拒绝", "the connection is refused"),
    "connection_reset": ("连接被重置", "connections are reset"),
    "connect_failed": ("无法建立连接", "no connection can be opened"),
    "ip_unreachable": ("地址不可达", "the address cannot be reached"),
    "ip_port_block": (
        "链路上很可能封锁了该地址与端口",
        "this address and port are blocked on the path (likely)",
    ),
    "residual_block": (
        "封锁的余波，稍后复测",
        "the after-effect of a block, to be tested again",
    ),
    "sni_block_rst": (
        "域名很可能在链路上被封锁（重置）",
        "the host name is blocked on the path (likely): reset",
    ),
    "sni_block_fin": (
        "域名很可能在链路上被封锁（断开）",
        "the host name is blocked on the path (likely): closed",
    ),
    "sni_block_drop": (
        "域名很可能在链路上被封锁（丢包）",
        "the host name is blocked on the path (likely): silence",
    ),
    "tls_block": ("链路上很可能封锁了 TLS", "TLS is blocked on the path (likely)"),
    "tls_timeout": ("TLS 握手超时", "the TLS handshake timed out"),
    "tls_reset": ("TLS 握手被重置", "the TLS handshake was reset"),
    "tls_reset_late": ("TLS 握手中途被重置", "the TLS handshake was reset half-way"),
    "tls_eof": ("TLS 握手被断开", "the TLS handshake was cut off"),
    "tls_failed": ("TLS 握手失败", "the TLS handshake failed"),
    "tls_alert": ("对方拒绝该主机名", "the server refuses this host name"),
    "tls_mitm": (
        "证书很可能在链路上被替换",
        "the certificate was replaced on the path (likely)",
    ),
    "cert_expired": ("证书已过期", "the certificate has expired"),
    "ssl_invalid_hostname": ("证书与域名不符", "the certificate is for another name"),
    "ssl_unknown_authority": ("证书颁发者不受信任", "the certificate's issuer is not trusted"),
    "ssl_invalid_certificate": ("证书无效", "the certificate is not valid"),
    "block_page": ("TLS 端口返回了明文页面", "a plain page is returned where TLS is expected"),
    "http_reset": ("HTTP 连接被重置", "the HTTP connection was reset"),
    "http_eof": ("HTTP 连接被断开", "the HTTP connection was cut off"),
    "http_timeout": ("HTTP 应答超时", "no HTTP answer in time"),
    "http_diff": ("内容不符合预期", "the answer is not what is expected"),
    "http_malformed": ("应答不是 HTTP/1", "the answer is not HTTP/1"),
    "http_failed": ("HTTP 请求失败", "the HTTP request fails"),
    "byte_cap_freeze": (
        "传输到若干字节后很可能在链路上被冻结",
        "transfers are frozen on the path after some bytes (likely)",
    ),
    "throttled": ("很可能在链路上被限速", "throttled on the path (likely)"),
    "cdn_challenge": ("CDN 要求人机验证", "the CDN asks for a challenge"),
    "cdn_access_denied": ("CDN 拒绝访问", "the CDN denies access"),
    "cdn_rate_limited": ("CDN 限流", "rate limited by the CDN"),
    "cdn_origin_error": ("CDN 无法连到源站", "the CDN cannot reach the origin"),
    "cdn_origin_timeout": ("CDN 等待源站超时", "the origin keeps the CDN waiting"),
    "upstream_region_ban": ("上游不支持其出口地区", "the upstream refuses its region"),
    "upstream_key_invalid": ("镜像自己的密钥无效", "the mirror's own key is not accepted"),
    "upstream_ip_not_allowed": ("我方地址不在其白名单中", "our address is not on its list"),
    "upstream_rate_limited": ("上游限流", "rate limited upstream"),
    "upstream_quota": ("上游额度用尽", "the upstream quota is used up"),
    "upstream_forbidden": ("上游拒绝访问", "the upstream refuses access"),
    "upstream_unexpected": ("上游应答异常", "an unexpected answer from upstream"),
    "upstream_overloaded": ("上游过载或出错", "the upstream is overloaded or failing"),
}
