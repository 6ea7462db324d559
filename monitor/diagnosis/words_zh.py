"""对每种结论的中文说明。干扰只说“在途中”，不涉及任何国家或主体。"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.diagnosis.verdict_words import Words

_OPERATOR = "请联系该镜像的运营者。"
_NAME_BLOCKED = (
    "在服务器上运行 `openssl s_client -connect localhost:PORT -servername NAME </dev/null`。"
    "若输出证书，或从其他网络访问（在 `monitor.vantages` 中配置别处的代理）有应答，请为该镜像再添"
    "一个域名（`hostnames`）：服务器须为它提供服务，证书也须涵盖它；若都不行，请修复服务器。"
)
_NAME_PROOF = "从其他网络用该域名访问成功"
_OR_SIGN = f"{_NAME_PROOF}，或不可能来自服务器的迹象，例如"
_ADDRESS_BLOCKED = (
    "先换一个网络测试，或增加一个观测点（`monitor.vantages`）。"
    "若从那里访问正常，请为镜像换一个地址或端口。"
)
_ADDRESS_PROOF = "从其他网络访问该地址成功"
_RESOLVER = (
    "把 DoH（DNS over HTTPS）解析器放在 `monitor.dns.resolvers` 首位，"
    "或用 `addresses` 固定镜像的地址。"
)
_FORGED = "丢弃此类应答，改用其他解析器的结果；镜像继续使用。"
_CUT_OFF = "域名被封锁、地址被封锁，或服务器故障"
_BETWEEN = "服务器，或本机与服务器之间的某个环节"
_LOOK_AT_SERVER = "查看服务器在探测时刻的日志；若没有记录，再查中间环节。"
_OFFLINE = "不会将任何镜像判为故障，全部镜像仍参与分流：请求照常尝试，网络恢复之前会失败。"
_WATCHED = "只计数和显示；请求仍会发往该镜像。"
_OPENSSL = "用 `openssl s_client -connect HOST:PORT -servername HOST` 查看。"

CHINESE: Mapping[str, Words] = {
    "ok": Words("正常", "可以访问，API 有应答", now="请求会发往该镜像。"),
    "unknown": Words(
        "尚无结论",
        "还没有完成过探测",
        "等待下一次探测。",
        "继续探测；在此之前请求仍会发往该镜像。",
    ),
    "local_network_down": Words(
        "本机断网或 DNS 不可用",
        "无法访问任何镜像；并非镜像故障",
        "检查本机：`ip link`、`ip route`、`ping` 网关、`/etc/resolv.conf`。",
        _OFFLINE,
    ),
    "local_clock_wrong": Words(
        "本机时钟有误",
        "其他服务器的时钟彼此一致，按它们的时间，被拒绝的证书都是有效的",
        "用 `date` 查看并校准本机时钟（NTP）；若是虚拟机，宿主机也要校准。",
        "不会将任何镜像判为故障，全部镜像仍参与分流，但时钟校准之前连接都无法通过验证。",
    ),
    "captive_portal": Words(
        "本机处于需要登录的网络",
        "无论连接哪台服务器，看到的都是同一张错误的证书或同一个页面",
        "登录该网络，或绕开会解开 TLS 的代理。",
        "不会将任何镜像判为故障，全部镜像仍参与分流，但网络放行之前连接都无法通过验证。",
        "登录网络后恢复正常",
    ),
    "dns_down": Words(
        "域名无法解析",
        "域名已不存在，或解析器失效；只有一个解析器时，也可能是它给了假应答",
        "核对 `url` 中的域名，再用另一个解析器查询：在 `monitor.dns.resolvers` 中增加一个 DoH "
        "解析器。",
    ),
    "dns_bogon": Words(
        "域名解析到内网地址",
        "镜像在自己的内网中，或 DNS 应答是伪造的",
        "若镜像确在自己的内网，请设置 `allow_private = true`（本命令用 `--allow-private`）。",
        "不连接任何内网地址。",
    ),
    "dns_blocked": Words(
        "该域名的 DNS 查询{likely}在途中被阻断",
        "配置的某个解析器查询失败，而可信的解析器有应答",
        _RESOLVER,
        "改用可信解析器给出的地址或固定地址；镜像继续使用。",
        "同一解析器从其他网络查询该域名成功",
    ),
    "dns_poisoned": Words(
        "DNS 应答{likely}在途中被伪造",
        "配置的某个解析器给出的地址{likely}有误",
        _RESOLVER,
        _FORGED,
        "同一解析器从其他网络给出正确的地址",
    ),
    "dns_injection": Words(
        "DNS 应答{likely}在途中被注入",
        "一次查询得到了两个不同的应答",
        _RESOLVER,
        _FORGED,
        "其中有明显不可能的应答（例如内网地址）",
    ),
    "dns_inconsistent": Words(
        "各解析器结果不一致",
        "通常是 CDN 所致：它对不同的查询者给出不同的应答",
        now="不做处理：使用 CDN 时这是正常现象。",
    ),
    "connection_refused": Words(
        "连接被拒绝",
        "该端口上没有服务在监听，或防火墙（服务器的，或途中的）拒绝了连接",
        "先在服务器上确认服务正在运行并监听 `url` 中的端口，再检查防火墙。若都正常，"
        "请换一个网络测试（在 `monitor.vantages` 中配置别处的代理）：若那里正常，"
        "则是途中有设备拒绝连接，可换端口或 IP。",
    ),
    "connection_reset": Words(
        "建立连接时被重置",
        "防火墙所致，常见于握手被封锁后的几分钟内",
        "5 分钟后再试；若仍如此，请换一个网络测试，或增加一个观测点（`monitor.vantages`）。",
    ),
    "ip_unreachable": Words(
        "地址不可达",
        "服务器已停机，或其地址被封锁；只从一个网络看不出区别",
        "确认服务器正在运行；若在运行，请换一个网络测试，或增加一个观测点（`monitor.vantages`）。",
    ),
    "connect_failed": Words(
        "无法建立连接",
        "本机防火墙，或没有空闲端口",
        "检查本机的防火墙规则和已打开的连接数。",
    ),
    "residual_block": Words(
        "某个域名被封锁后，该地址与端口暂时不通",
        "不久前有域名在该处被中断；这种余波会持续几分钟",
        "等余波过去，或运行 `mirrorgate probe --patient`（会自动等待）。",
        "在余波过去之前，不以任何域名连接该地址与端口。",
        "等待之后该处恢复应答",
    ),
    "sni_block_rst": Words(
        "域名{likely}在途中被封锁",
        "SNI 为该域名的 TLS 连接被重置，换成其他域名则有应答",
        _NAME_BLOCKED,
        proof=f"{_OR_SIGN}不到一次往返就到达的重置",
    ),
    "sni_block_fin": Words(
        "域名{likely}在途中被封锁",
        "SNI 为该域名的 TLS 连接被关闭，换成其他域名则有应答",
        _NAME_BLOCKED,
        proof=f"{_OR_SIGN}不到一次往返就发生的关闭",
    ),
    "sni_block_drop": Words(
        "域名{likely}在途中被封锁",
        "SNI 为该域名的 TLS 连接毫无回应，换成其他域名则有应答",
        _NAME_BLOCKED,
        proof=f"{_OR_SIGN}ClientHello 始终未被确认收到",
    ),
    "ip_port_block": Words(
        "该地址与端口{likely}在途中被封锁",
        "无论内容如何，到该地址与端口的连接都失败",
        _ADDRESS_BLOCKED,
        proof=_ADDRESS_PROOF,
    ),
    "tls_block": Words(
        "到该地址的 TLS {likely}在途中被封锁",
        "无论使用什么域名，握手都被中断",
        _ADDRESS_BLOCKED,
        proof=_ADDRESS_PROOF,
    ),
    "tls_reset": Words("TLS 握手被重置", _CUT_OFF, _LOOK_AT_SERVER),
    "tls_reset_late": Words("TLS 握手中途被重置", "服务器，或会检查证书的防火墙", _LOOK_AT_SERVER),
    "tls_eof": Words("TLS 握手被断开", _CUT_OFF, _LOOK_AT_SERVER),
    "tls_timeout": Words(
        "TLS 握手超时",
        "服务器过载、域名被封锁或地址被封锁",
        "检查服务器负载；若并不繁忙，请换一个网络测试，或增加一个观测点（`monitor.vantages`）。",
    ),
    "tls_alert": Words(
        "服务器拒绝该域名",
        "该服务器或 CDN 上没有配置此域名",
        "在服务器上配置该域名，或更正 `url`、`addresses`。",
    ),
    "tls_failed": Words(
        "TLS 握手失败", "服务器的 TLS 不兼容或要求客户端证书，或中间有干扰", _OPENSSL
    ),
    "tls_mitm": Words(
        "证书{likely}在途中被替换",
        "签发者不受信任，而此前另一张证书在此验证通过",
        "请从其他网络对比。在弄清是谁在应答之前，不要经这个网络发送密钥。",
        "不会通过这样的连接发送任何内容，尤其是密钥。{now}",
        "从其他网络在同一域名与地址上看到另一张证书",
    ),
    "ssl_invalid_hostname": Words(
        "证书与域名不符",
        "地址有误（来自配置或 DNS），或该服务器没有此域名",
        "用另一个解析器核对地址；若地址一致，请更正 `url` 或 `addresses`，或为该域名安装证书。",
    ),
    "ssl_unknown_authority": Words(
        "证书颁发者不受信任",
        "私有的证书机构、缺少中间证书，或有人在中间",
        "若由公共机构签发，请让服务器发送完整证书链（`fullchain.pem`）；若是自己的证书机构，请设置 "
        "`ca_file`；两者都不是，则不要向该服务器发送内容。",
    ),
    "ssl_invalid_certificate": Words("证书无效", "尚未生效、已被吊销或格式错误", _OPENSSL),
    "cert_expired": Words(
        "证书已过期",
        todo="先核对本机时钟（`date -u`）；若准确，请在镜像的服务器上续期证书，"
        "并重新加载 Web 服务器。",
        now="不会通过使用该证书的连接发送任何内容。{now}",
        given="前提是本机时钟准确{clock}",
    ),
    "block_page": Words(
        "TLS 端口返回了明文页面",
        "`url` 中的端口有误，或是封锁页面",
        "核对 `url` 中的端口；若无误，用 `curl http://HOST:PORT` 查看该页面。",
        proof="从其他网络与同一地址完成握手",
    ),
    "content_block": Words(
        "握手之后的数据{likely}在途中被丢弃",
        "握手可以完成，但请求始终得不到确认；用其他域名握手后则可以",
        _NAME_BLOCKED,
        proof=_NAME_PROOF,
    ),
    "http_reset": Words("HTTP 连接被重置", _BETWEEN, _LOOK_AT_SERVER),
    "http_eof": Words(
        "HTTP 连接过早关闭",
        _BETWEEN,
        "确认服务器支持 HTTP/1.1（只支持 HTTP/2 的服务器会这样关闭连接），"
        "并查看服务器在本次探测时刻的日志。",
    ),
    "http_timeout": Words("HTTP 应答超时", _BETWEEN, _LOOK_AT_SERVER),
    "http_malformed": Words(
        "应答不是 HTTP/1",
        "`url` 中的端口有误，或服务器只支持 HTTP/2",
        "核对 `url` 中的端口，并确认服务器也支持 HTTP/1.1。",
    ),
    "http_failed": Words("HTTP 请求失败", _BETWEEN, _LOOK_AT_SERVER),
    "http_diff": Words(
        "应答不是来自 API",
        "停放的域名、登录页面，或 `url` 中的路径有误",
        "在浏览器中打开 `url`，并更正它。",
    ),
    "not_openai_api": Words(
        "不是 OpenAI 接口",
        "`url` 中的路径有误，或镜像已迁走",
        "用 `curl URL/v1/models` 核对 `url` 中的路径。",
        "请求改走其他镜像，除非该镜像仍能完成请求。",
    ),
    "byte_cap_freeze": Words(
        "传输若干 KB 后{likely}在途中被冻结",
        "较长的应答一再在差不多的长度处停止",
        "在该服务器上放一个 10 MB 的文件，换一个网络下载；若能下完，请为镜像换一个 IP 或网络。",
        "改用其他地址或网络；流式应答优先走其他镜像。",
        "换其他网络从同一服务器下载时能够下完",
    ),
    "throttled": Words(
        "{likely}在途中或服务器处被限速",
        "速度只有平时的十分之一或更低，而其他镜像速度正常",
        "在该服务器上放一个 10 MB 的文件，分别从本网络和另一个网络下载：若仅另一个网络快，"
        "请为镜像换一个 IP 或网络；若两处都慢，请检查服务器的负载与带宽限制。",
        "将其分流份额降至平时的五分之一。",
        "换其他网络从同一服务器下载时速度正常",
    ),
    "cdn_challenge": Words(
        "CDN{cdn}要求人机验证",
        "需要浏览器才能通过，任何 API 客户端都做不到",
        "在 CDN 设置中对 API 路径关闭人机验证。",
    ),
    "cdn_access_denied": Words(
        "CDN{cdn}拒绝访问", "CDN 上的防火墙规则", "在 CDN 的防火墙规则中放行本机地址。"
    ),
    "cdn_rate_limited": Words(
        "CDN{cdn}限流",
        "来自本机地址的请求过多",
        "调大 `monitor.interval`，或在 CDN 上放行本机地址。",
        "在对方要求的时间内不再探测；请求仍会发往该镜像。",
    ),
    "cdn_origin_error": Words(
        "CDN{cdn}无法连接源站（回源失败）",
        "CDN 有应答，其后的镜像服务器没有应答，或应答不符合 CDN 的要求",
        "检查 CDN 之后的服务器是否运行、其防火墙是否放行 CDN、负载是否过高（525、526 则检查证书）；"
        "本机到 CDN 的网络正常。",
    ),
    "cdn_origin_timeout": Words(
        "CDN{cdn}等待源站超时",
        "CDN 之后的服务器过载，或请求很慢",
        "检查 CDN 之后服务器的负载。",
        _WATCHED,
    ),
    "upstream_overloaded": Words(
        "镜像或其后的 API 出错或过载",
        "它返回了自己的错误（5xx）",
        _OPERATOR,
        "暂时优先使用其他镜像；按错误率将其摘除。",
    ),
    "requests_fail": Words(
        "探测正常，但用户的请求失败",
        "能列出模型，但模型不可用：可能是镜像的账户或其后的 API 的问题",
        "用该镜像的密钥手动发送一个请求，查看错误内容。",
        "按失败情况将其摘除，并每次只用一个请求试探。",
    ),
    "upstream_region_ban": Words(
        "上游 API 不向该镜像服务器所在的国家或地区提供服务",
        "是否提供服务，由 API 按服务器的出口 IP 判断",
        "把镜像的服务器或其出口 IP 换到 API 支持的国家或地区；在 mirrorgate 这一侧无法解决。",
    ),
    "upstream_key_invalid": Words(
        "镜像自己的密钥无效",
        "密钥已被吊销或填写有误",
        "在 `api_key` 中填入有效的密钥。",
        "在密钥被接受之前不使用它；带用户自己密钥的请求仍会发往该镜像。",
    ),
    "upstream_ip_not_allowed": Words(
        "本机地址不在账户的白名单中",
        "该账户只允许白名单中的地址",
        "把本机地址加入该账户的白名单。",
        "在本机地址加入白名单之前不使用镜像自己的密钥；带用户自己密钥的请求仍会发往该镜像。",
    ),
    "upstream_quota": Words(
        "镜像账户的额度已用尽",
        "账户已没有可用额度",
        "充值，或等待下一个周期。",
        "在恢复额度之前不使用镜像自己的密钥；带用户自己密钥的请求仍会发往该镜像。",
    ),
    "upstream_rate_limited": Words(
        "镜像或其后的 API 限流",
        "该密钥或本机地址使用过于频繁",
        "提高账户的限额，或设置 `max_requests_per_second`。",
        "在对方要求的时间内不再探测，没有要求时为几秒；请求仍会发往该镜像。",
    ),
    "upstream_forbidden": Words(
        "镜像拒绝访问",
        "有规则针对本机地址，或针对不带密钥的请求",
        "若带密钥的请求正常，无需处理；否则请在镜像上放行本机地址。",
        _WATCHED,
    ),
    "upstream_unexpected": Words(
        "镜像应答异常",
        "另一种 API，或使用自定义错误的中转",
        "核对 `url` 中的路径，并手动发送一个带密钥的请求。",
        _WATCHED,
    ),
}

OFFLINE: Mapping[str, Words] = {
    "link_is_down": Words(
        "本机已断网",
        "所有网络接口均未连接",
        "先检查网线或 Wi-Fi，再启用接口（`ip link set NAME up`）；接口连通后，`ip route` "
        "应显示默认路由。",
        _OFFLINE,
    ),
    "no_route_anywhere": Words(
        "本机已断网",
        "没有通往外部的路由",
        "检查本机：先用 `ip route` 查看是否有默认路由，再 `ping` 网关。",
        _OFFLINE,
    ),
}
