"""对每种结论的中文说明。干扰只说“在链路上”，不涉及任何国家或主体。"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.diagnosis.verdict_words import Words

_OPERATOR = "请联系该镜像的运营者。"
_NAME_BLOCKED = (
    "为该镜像增加另一个域名（hostnames），或换一个网络再试："
    "把别处的代理设为观测点（monitor.vantages）即可定论。"
)
_CUT_OFF = "域名被封锁、地址被封锁，或服务器故障"
_BETWEEN = "服务器，或中间的某个环节"
_LOOK_AT_SERVER = "查看服务器在探测时刻的日志；若没有记录，再查中间环节。"
_ELSEWHERE = "请换一个网络再试，或增加一个观测点（monitor.vantages）。"

CHINESE: Mapping[str, Words] = {
    "ok": Words("正常", now="请求会发往这里。"),
    "unknown": Words(
        "尚无结论", "还没有完成过探测", "等待下一次探测。", "继续探测；在此之前仍参与分流。"
    ),
    "local_network_down": Words(
        "监测点自身断网",
        "本机的网络或解析器不可用，所有镜像都无法到达",
        "检查本机：`ip route`、能否 `ping` 通网关、`/etc/resolv.conf`。",
        "冻结所有状态，不归咎于任何镜像，全部继续参与分流。",
    ),
    "local_clock_wrong": Words(
        "监测点的时钟有误",
        "按其他服务器彼此一致的时钟，被拒绝的证书都是有效的",
        "校准本机时钟（NTP）；若是虚拟机，宿主机也要校准。",
        "冻结所有状态，全部镜像继续参与分流，但时钟校准之前连接都无法通过验证。",
    ),
    "captive_portal": Words(
        "监测点处于需要登录的网络",
        "无论连接哪台服务器，看到的都是同一张错误的证书或同一个页面",
        "登录该网络，或绕开会解开 TLS 的代理。",
        "冻结所有状态，全部镜像继续参与分流，但网络放行之前连接都无法通过验证。",
    ),
    "dns_down": Words(
        "域名无法解析",
        "域名已不存在，或解析器失效；只有一个解析器时，也可能是它给了假应答",
        "核对 url 中的域名，并在 monitor.dns.resolvers 中增加一个 HTTPS 解析器。",
    ),
    "dns_bogon": Words(
        "域名解析到内网地址",
        "镜像在自己的内网中，或应答是伪造的",
        "若镜像确在自己的内网，请设置 `allow_private = true`（本命令用 --allow-private）。",
        "不连接任何内网地址。",
    ),
    "dns_blocked": Words(
        "本地解析{likely}被阻断",
        "本地解析器失败，而可信的解析器有应答",
        "把 HTTPS 解析器放在 monitor.dns.resolvers 首位，或用 addresses 固定地址。",
        "改用可信解析器给出的地址或固定地址；镜像继续使用。",
    ),
    "dns_poisoned": Words(
        "域名应答{likely}是伪造的",
        "本地解析器给出的地址不可能是真的",
        "把 HTTPS 解析器放在 monitor.dns.resolvers 首位，或用 addresses 固定地址。",
        "丢弃这些地址并改问其他解析器；镜像继续使用。",
    ),
    "dns_injection": Words(
        "链路上{likely}注入了域名应答",
        "一次查询得到了两个不同的应答",
        "把 HTTPS 解析器放在 monitor.dns.resolvers 首位，或用 addresses 固定地址。",
        "丢弃这些地址并改问其他解析器；镜像继续使用。",
    ),
    "dns_inconsistent": Words(
        "各解析器结果不一致",
        "通常是内容分发网络，对不同的询问者给出不同的应答",
        now="不做处理：内容分发网络本来如此。",
    ),
    "connection_refused": Words(
        "连接被拒绝",
        "服务程序没有运行或监听了其他端口，或被防火墙拒绝",
        "确认服务正在运行，并核对 url 中的端口。",
    ),
    "connection_reset": Words(
        "连接被重置",
        "防火墙所致，常见于握手被封锁后的几分钟内",
        "5 分钟后再试；若仍如此，" + _ELSEWHERE,
    ),
    "ip_unreachable": Words(
        "地址不可达",
        "服务器已停机，或其地址被封锁；仅从一处看不出区别",
        "确认服务器正在运行；若在运行，" + _ELSEWHERE,
    ),
    "connect_failed": Words(
        "无法建立连接",
        "本机防火墙，或没有空闲端口",
        "检查本机的防火墙规则和已打开的连接数。",
    ),
    "residual_block": Words(
        "封锁的余波，稍后复测",
        "不久前有域名在同一地址与端口上被中断",
        "等它过去，或运行 `mirrorgate probe --patient`（会自动等待）。",
        "在余波过去之前，不以任何域名连接该地址与端口。",
    ),
    "sni_block_rst": Words(
        "域名{likely}在链路上被封锁（重置）",
        "连接中出现该域名就被重置，换成其他域名则不会",
        _NAME_BLOCKED,
    ),
    "sni_block_fin": Words(
        "域名{likely}在链路上被封锁（断开）",
        "连接中出现该域名就被断开，换成其他域名则不会",
        _NAME_BLOCKED,
    ),
    "sni_block_drop": Words(
        "域名{likely}在链路上被封锁（丢包）",
        "连接中出现该域名就没有任何回应，换成其他域名则不会",
        _NAME_BLOCKED,
    ),
    "ip_port_block": Words(
        "链路上{likely}封锁了该地址与端口",
        "无论内容如何，到该地址与端口的连接都被中断",
        "为镜像换一个地址或端口。" + _ELSEWHERE,
    ),
    "tls_block": Words(
        "链路上{likely}封锁了 TLS",
        "无论使用什么域名，到该地址的 TLS 都被中断",
        "为镜像换一个地址或端口。" + _ELSEWHERE,
    ),
    "tls_reset": Words("TLS 握手被重置", _CUT_OFF, _LOOK_AT_SERVER),
    "tls_reset_late": Words("TLS 握手中途被重置", "服务器，或会检查证书的防火墙", _LOOK_AT_SERVER),
    "tls_eof": Words("TLS 握手被断开", _CUT_OFF, _LOOK_AT_SERVER),
    "tls_timeout": Words(
        "TLS 握手超时",
        "服务器过载、域名被封锁或地址被封锁",
        "检查服务器负载；若并不繁忙，请换一个网络再试。",
    ),
    "tls_alert": Words(
        "对方拒绝该主机名",
        "该服务器或 CDN 上没有配置此域名",
        "在那里配置该域名，或更正 url、addresses。",
    ),
    "tls_failed": Words(
        "TLS 握手失败",
        "服务器使用不同的 TLS，或中间有干扰",
        "用 `openssl s_client -connect HOST:PORT -servername HOST` 查看。",
    ),
    "tls_mitm": Words(
        "证书{likely}在链路上被替换",
        "签发者不受信任，而此前另一张证书在此验证通过",
        "在弄清是谁在应答之前，不要经这个网络发送密钥；请从其他网络对比。",
        "不向那里发送任何内容，尤其是密钥；改用其他域名和地址。",
    ),
    "ssl_invalid_hostname": Words(
        "证书与域名不符",
        "地址有误，或该服务器没有此域名",
        "更正 url 或 addresses，或为该域名安装证书。",
    ),
    "ssl_unknown_authority": Words(
        "证书颁发者不受信任",
        "私有的证书机构，或有人在中间",
        "若是自己的证书机构，请设置 ca_file；否则不要向那里发送内容。",
    ),
    "ssl_invalid_certificate": Words(
        "证书无效",
        "尚未生效、已被吊销或格式错误",
        "用 `openssl s_client -connect HOST:PORT -servername HOST` 查看。",
    ),
    "cert_expired": Words(
        "证书已过期",
        todo="在镜像的服务器上更新证书。",
        now="证书更新之前，不向那里发送任何内容。",
    ),
    "block_page": Words(
        "TLS 端口返回了明文页面",
        "url 中的端口有误，或是封锁页面",
        "核对 url 中的端口；若无误，用 `curl http://HOST:PORT` 查看该页面。",
    ),
    "content_block": Words(
        "握手之后的数据{likely}在链路上被丢弃",
        "握手可以完成，但请求始终得不到确认；换成其他域名则可以",
        _NAME_BLOCKED,
    ),
    "http_reset": Words("HTTP 连接被重置", _BETWEEN, _LOOK_AT_SERVER),
    "http_eof": Words("HTTP 连接被断开", _BETWEEN, _LOOK_AT_SERVER),
    "http_timeout": Words("HTTP 应答超时", _BETWEEN, _LOOK_AT_SERVER),
    "http_malformed": Words("应答不是 HTTP/1", "端口有误", "核对 url 中的端口。"),
    "http_failed": Words("HTTP 请求失败", _BETWEEN, _LOOK_AT_SERVER),
    "http_diff": Words(
        "内容不符合预期",
        "停放的域名、登录页面，或 url 中的路径有误",
        "在浏览器中打开 url，并更正它。",
    ),
    "not_openai_api": Words(
        "不是 OpenAI 接口",
        "另一种 API：url 中的路径有误，或镜像已迁走",
        "用 `curl URL/v1/models` 核对 url 中的路径。",
        "改用其他镜像，除非它仍能完成请求。",
    ),
    "byte_cap_freeze": Words(
        "传输到若干字节后{likely}在链路上被冻结",
        "较长的应答一再在差不多的长度处停止",
        "为镜像换一个地址或网络。",
        "改用其他地址或网络；流式应答优先走其他镜像。",
    ),
    "throttled": Words(
        "{likely}在链路上被限速",
        "速度只有平时的十分之一或更低，而其他镜像速度正常",
        "为镜像换一个地址或网络。",
        "只给它五分之一的流量。",
    ),
    "cdn_challenge": Words(
        "CDN 要求人机验证",
        "需要浏览器才能通过，任何 API 客户端都做不到",
        "在 CDN 设置中对 API 路径关闭人机验证。",
    ),
    "cdn_access_denied": Words(
        "CDN 拒绝访问", "CDN 上的防火墙规则", "在 CDN 的防火墙规则中放行本机地址。"
    ),
    "cdn_rate_limited": Words(
        "CDN 限流",
        "来自本机地址的请求过多",
        "调大 monitor.interval，或在 CDN 上放行本机地址。",
        "按对方要求的时间等待。",
    ),
    "cdn_origin_error": Words(
        "CDN 无法连到源站",
        "CDN 有应答，其后的服务器没有",
        "启动或修复 CDN 之后的服务器；从这里出发的网络没有问题。",
    ),
    "cdn_origin_timeout": Words(
        "CDN 等待源站超时",
        "CDN 之后的服务器过载，或请求很慢",
        "检查 CDN 之后服务器的负载。",
        "只计数和显示，不做处理。",
    ),
    "upstream_overloaded": Words(
        "上游过载或出错",
        "镜像或其后的 API 有故障或负载过高",
        _OPERATOR,
        "暂时优先使用其他镜像；按错误率将其摘除。",
    ),
    "requests_fail": Words(
        "探测正常，但用户的请求失败",
        "能列出模型，但模型不可用：可能是其账户或其后的 API 的问题",
        "用该镜像的密钥手动发送一个请求，查看错误内容。",
        "按失败情况将其摘除，并每次只用一个请求试探。",
    ),
    "upstream_region_ban": Words(
        "上游不支持其出口地区",
        "API 不向镜像服务器所在的地区提供服务",
        "把镜像的服务器迁到 API 支持的地区；在这里无法解决。",
        "若有其他镜像，则改用其他镜像。",
    ),
    "upstream_key_invalid": Words(
        "镜像自己的密钥无效",
        "密钥已被吊销或填写有误",
        "在 api_key 中填入有效的密钥。",
        "在密钥被接受之前不使用它；用户自己的密钥仍会发往那里。",
    ),
    "upstream_ip_not_allowed": Words(
        "我方地址不在其白名单中",
        "该账户只允许白名单中的地址",
        "把本机地址加入该账户的白名单。",
        "在我方地址加入白名单之前不使用镜像自己的密钥；用户自己的密钥仍会发往那里。",
    ),
    "upstream_quota": Words(
        "上游额度用尽",
        "账户已没有可用额度",
        "充值，或等待下一个周期。",
        "在恢复额度之前不使用镜像自己的密钥；用户自己的密钥仍会发往那里。",
    ),
    "upstream_rate_limited": Words(
        "上游限流",
        "该密钥或我方地址使用过于频繁",
        "提高账户的限额，或设置 max_requests_per_second。",
        "按对方要求的时间等待，没有要求则等待几秒。",
    ),
    "upstream_forbidden": Words(
        "上游拒绝访问",
        "镜像有规则针对我方地址，或针对不带密钥的请求",
        "若带密钥的请求正常，无需处理；否则请在那里放行本机地址。",
        "只计数和显示，不做处理。",
    ),
    "upstream_unexpected": Words(
        "上游应答异常",
        "另一种 API，或使用自定义应答的中转",
        "核对 url 中的路径，并手动发送一个带密钥的请求。",
        "只计数和显示，不做处理。",
    ),
}
