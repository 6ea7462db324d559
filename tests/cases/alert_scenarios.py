"""Alerts as series: for each one a scenario in which it fires, and misses in which it must not.

Values are in promtool's notation, one a minute unless the scenario says otherwise.
"""

from collections.abc import Mapping
from typing import NamedTuple

Series = Mapping[str, str]


class Scenario(NamedTuple):
    """One alert."""

    at: str
    """When it must fire."""
    fires: Series
    misses: tuple[Series, ...]
    every: str = "1m"
    also: tuple[Series, ...] = ()
    """Other courses in which it must fire."""


I = 'job="mirrorgate",instance="a:8082"'  # noqa: E741


def _requests(mirror: str, code: str, outcome: str) -> str:
    labels = f'mirror="{mirror}",endpoint="chat",code="{code}",outcome="{outcome}"'
    return f"mirrorgate_requests_total{{{I},{labels}}}"


_OK = _requests("hk", "200", "success")
_BAD = _requests("", "503", "upstream_error")
_LEFT = _requests("hk", "200", "client_abort")


def _first_token(fast: str) -> Series:
    name = f'mirrorgate_time_to_first_token_seconds_%s{{{I},mirror="hk",model="gpt-4o"%s}}'
    return {
        name % ("bucket", ',le="30.0"'): fast,
        name % ("bucket", ',le="60.0"'): "0+10x40",
        name % ("bucket", ',le="+Inf"'): "0+10x40",
        name % ("count", ""): "0+10x40",
    }


def _of_mirrors(family: str, label: str, **values: str) -> Series:
    """A gauge of several mirrors; `label` is one more."""
    more = f",{label}" if label else ""
    return {f'{family}{{{I},mirror="{mirror}"{more}}}': v for mirror, v in values.items()}


def _states(**states: str) -> Series:
    """The state of each mirror, as series."""
    return {
        f'mirrorgate_mirror_state{{{I},mirror="{mirror}",state="{each}"}}': f"{each == state:d}x20"
        for mirror, state in states.items()
        for each in ("up", "degraded", "down", "maintenance", "unknown")
    }


def _info(**cdn_and_region: tuple[str, str]) -> Series:
    name = "mirrorgate_mirror_info"
    return {
        f'{name}{{{I},mirror="{mirror}",cdn="{cdn}",region="{region}"}}': "1x20"
        for mirror, (cdn, region) in cdn_and_region.items()
    }


def _verdict(verdict: str) -> Series:
    return {f'mirrorgate_verdict{{{I},mirror="hk",verdict="{verdict}"}}': "1x20"}


_ANSWERED = f'mirrorgate_attempts_total{{{I},mirror="hk",outcome="answered"}}'


def _attempts(retries: str, ambiguous: str = "0x60") -> Series:
    return {
        _ANSWERED: "0+20x60",
        f'mirrorgate_attempts_total{{{I},mirror="jp",outcome="connect"}}': retries,
        f'mirrorgate_retries_total{{{I},reason="connect"}}': retries,
        f"mirrorgate_ambiguous_retries_total{{{I}}}": ambiguous,
    }


def _delay(process: str, fast: str) -> Series:
    name = f"mirrorgate_{process}_loop_delay_seconds_bucket{{{I},le=%s}}"
    return {name % '"0.25"': fast, name % '"5.0"': "0+100x30", name % '"+Inf"': "0+100x30"}


def _one(family: str, value: str, labels: str = "") -> Series:
    return {f"{family}{{{I}{labels}}}": value}


_TWO_OF_A_CDN = _info(hk=("cloudflare", ""), jp=("cloudflare", ""), de=("", ""))
_TWO_OF_A_REGION = _info(hk=("", "亚洲"), jp=("", "亚洲"), de=("", "欧洲"))
_BOTH_OUT = _of_mirrors("mirrorgate_mirror_in_rotation", "", hk="0x20", jp="0x20", de="1x20")
_ONE_OUT = _of_mirrors("mirrorgate_mirror_in_rotation", "", hk="0x20", jp="1x20", de="1x20")
_CHANGES = "mirrorgate_mirror_state_changes_total"
_INTERVAL = _one("mirrorgate_probe_interval_seconds", "60x30")
_DAY = 86400

SCENARIOS: dict[str, Scenario] = {
    "MirrorgateErrorBudgetBurnsFast": Scenario(
        "66m",
        {_OK: "0+90x70", _BAD: "0+10x70"},
        (
            {_OK: "0+90x70", _BAD: "0+10x55 550x15"},  # it is over
            {_OK: "0+0.9x70", _BAD: "0+0.1x70"},  # hardly any traffic
            {_OK: "0+90x70", _BAD: "0+5x70"},  # below 14.4 times the budget
            {_OK: "0+90x70", _LEFT: "0+10x70"},  # clients that leave
        ),
    ),
    "MirrorgateErrorBudgetBurns": Scenario(
        "380m",
        {_OK: "0+480x80", _BAD: "0+20x80"},
        ({_OK: "0+490x80", _BAD: "0+10x80"}, {_OK: "0+480x80", _BAD: "0+20x68 1360x12"}),
        every="5m",
    ),
    "MirrorgateErrorBudgetBurnsSlowly": Scenario(
        "4500m",
        {_OK: "0+992x160", _BAD: "0+8x160"},
        ({_OK: "0+996x160", _BAD: "0+4x160"}, {_OK: "0+0.992x160", _BAD: "0+0.008x160"}),
        every="30m",
    ),
    "MirrorgateFirstTokenSlow": Scenario("30m", _first_token("0+5x40"), (_first_token("0+10x40"),)),
    "MirrorgateNoMirrorInRotation": Scenario(
        "3m",
        _of_mirrors("mirrorgate_mirror_in_rotation", "", hk="0x9", jp="0x9"),
        (_of_mirrors("mirrorgate_mirror_in_rotation", "", hk="0x9", jp="1x9"),),
    ),
    "MirrorgateMirrorDown": Scenario(
        "12m",
        _of_mirrors("mirrorgate_mirror_state", 'state="down"', hk="1x20"),
        (
            _of_mirrors("mirrorgate_mirror_state", 'state="down"', hk="1x8 0x12"),
            _of_mirrors("mirrorgate_mirror_state", 'state="degraded"', hk="1x20"),
        ),
    ),
    "MirrorgateMirrorFlaps": Scenario(
        "70m",
        {
            **_of_mirrors(_CHANGES, 'state="down"', hk="0+0.1x80"),
            **_of_mirrors(_CHANGES, 'state="up"', hk="0+0.1x80"),
        },
        (
            {
                **_of_mirrors(_CHANGES, 'state="down"', hk="0+0.05x80"),
                **_of_mirrors(_CHANGES, 'state="up"', jp="0+0.1x80"),
            },
            _of_mirrors("mirrorgate_ejections_total", 'cause="failing"', hk="0+0.05x80"),
        ),
    ),
    "MirrorgateSniBlockConfirmed": Scenario(
        "4m", _verdict("sni_block_rst"), (_verdict("tls_reset"), _verdict("ok"))
    ),
    "MirrorgateCdnFails": Scenario(
        "8m",
        {**_TWO_OF_A_CDN, **_BOTH_OUT},
        (
            {**_TWO_OF_A_CDN, **_ONE_OUT},
            {**_info(hk=("cloudflare", ""), jp=("fastly", ""), de=("", "")), **_BOTH_OUT},
        ),
    ),
    "MirrorgateRegionFails": Scenario(
        "8m",
        {**_TWO_OF_A_REGION, **_BOTH_OUT},
        (
            {**_TWO_OF_A_REGION, **_ONE_OUT},
            {**_info(hk=("", "亚洲"), jp=("", "美国"), de=("", "")), **_BOTH_OUT},
        ),
    ),
    "MirrorgateCertificateEndsSoon": Scenario(
        "70m",
        _of_mirrors("mirrorgate_tls_not_after_timestamp_seconds", "", hk=f"{10 * _DAY}x80"),
        (
            _of_mirrors("mirrorgate_tls_not_after_timestamp_seconds", "", hk=f"{20 * _DAY}x80"),
            _of_mirrors("mirrorgate_tls_not_after_timestamp_seconds", "", hk=f"{_DAY}x80"),
        ),
    ),
    "MirrorgateCertificateEnds": Scenario(
        "8m",
        _of_mirrors("mirrorgate_tls_not_after_timestamp_seconds", "", hk=f"{_DAY}x20"),
        (_of_mirrors("mirrorgate_tls_not_after_timestamp_seconds", "", hk=f"{3 * _DAY}x20"),),
    ),
    "MirrorgateMirrorKeyRefused": Scenario(
        "8m", _verdict("upstream_quota"), (_verdict("upstream_overloaded"),)
    ),
    "MirrorgateRetriesHigh": Scenario(
        "25m", _attempts("0+10x60"), (_attempts("0+2x60"), _attempts("0+10x9 90x50"))
    ),
    "MirrorgateAmbiguousRetriesHigh": Scenario(
        "45m",
        _attempts("0+1x60", "0+1x60"),
        (
            _attempts("0+1x60", "0+0.1x60"),
            _attempts("0+1x60"),
            {**_attempts("0x60", "0+0.17x60"), _ANSWERED: "0+20x29 580x31"},  # the night begins
        ),
    ),
    "MirrorgateQueueFills": Scenario(
        "5m",
        {
            **_one("mirrorgate_requests_queued", "900x9"),
            **_one("mirrorgate_requests_queued_limit", "1000x9"),
        },
        (
            {
                **_one("mirrorgate_requests_queued", "700x9"),
                **_one("mirrorgate_requests_queued_limit", "1000x9"),
            },
        ),
    ),
    "MirrorgateBanSpike": Scenario(
        "12m",
        _one("mirrorgate_bans_total", "0+3x20", ',reason="rate_limit_exceeded"'),
        (
            _one("mirrorgate_bans_total", "0+3x20", ',reason="operator"'),
            _one("mirrorgate_bans_total", "0+1x20", ',reason="rate_limit_exceeded"'),
        ),
    ),
    "MirrorgateClientsNotToldApart": Scenario(
        "25m",
        _one("mirrorgate_unbelieved_clients_total", "0+20x30", ',setting="trusted_proxies"'),
        (_one("mirrorgate_unbelieved_clients_total", "0+5x30", ',setting="trusted_proxies"'),),
    ),
    "MirrorgateKeyQuotaLow": Scenario(
        "30h",
        _one("mirrorgate_keys", "0x27 1x9", ',state="low"'),
        (
            {
                **_one("mirrorgate_keys", "0x40", ',state="low"'),
                **_one("mirrorgate_keys", "5x40", ',state="active"'),
            },
            _one("mirrorgate_keys", "1x40", ',state="spent"'),  # for days
        ),
        every="1h",
        also=(_one("mirrorgate_keys", "_x27 1x9", ',state="low"'),),  # as soon as it is watched
    ),
    "MirrorgateProbesStale": Scenario(
        "12m",
        {
            **_of_mirrors("mirrorgate_last_probe_timestamp_seconds", "", hk="0x20"),
            **_INTERVAL,
        },
        (
            {
                **_of_mirrors("mirrorgate_last_probe_timestamp_seconds", "", hk="0+60x20"),
                **_INTERVAL,
            },
            {
                **_of_mirrors("mirrorgate_last_probe_timestamp_seconds", "", hk="0x20"),
                **_one("mirrorgate_probe_interval_seconds", "300x30"),
            },
        ),
    ),
    "MirrorgateMonitorBlind": Scenario(
        "8m",
        _states(hk="unknown", jp="unknown"),
        (_states(hk="unknown", jp="up"), _states(hk="maintenance", jp="maintenance")),
        also=(_states(hk="unknown", jp="maintenance"),),
    ),
    "MirrorgateSnapshotStale": Scenario(
        "5m",
        {**_one("mirrorgate_snapshot_age_seconds", "300x20"), **_INTERVAL},
        ({**_one("mirrorgate_snapshot_age_seconds", "200x20"), **_INTERVAL},),
    ),
    "MirrorgateAbsent": Scenario(
        "4m",
        _one("up", "0x9"),
        ({**_one("up", "1x9"), 'up{job="node",instance="b"}': "0x9"},),
        also=({'up{job="node",instance="b"}': "1x9"},),  # its job has another name
    ),
    "MirrorgateReloadFailed": Scenario(
        "8m",
        _one("mirrorgate_config_last_reload_successful", "0x20"),
        (_one("mirrorgate_config_last_reload_successful", "0x3 1x20"),),
    ),
    "MirrorgateStoreFails": Scenario(
        "3m", _one("mirrorgate_store_up", "0x9"), (_one("mirrorgate_store_up", "0x0 1x9"),)
    ),
    "MirrorgateStoreDrops": Scenario(
        "5m",
        _one("mirrorgate_store_dropped_writes_total", "0x2 7x9"),
        (_one("mirrorgate_store_dropped_writes_total", "7x9"),),
    ),
    "MirrorgateDiskFull": Scenario(
        "8m",
        _one("mirrorgate_store_free_bytes", "100000000x20"),
        (_one("mirrorgate_store_free_bytes", "600000000x20"),),
    ),
    "MirrorgateClocksDiffer": Scenario(
        "8m",
        _one("mirrorgate_cluster_clock_offset_seconds", "-3600x20"),
        (_one("mirrorgate_cluster_clock_offset_seconds", "20x20"),),
    ),
    "MirrorgateReceiverFails": Scenario(
        "20m",
        _one("mirrorgate_notification_receiver_failing", "1x25", ',receiver="slack hooks"'),
        (_one("mirrorgate_notification_receiver_failing", "1x10 0x15", ',receiver="slack hooks"'),),
    ),
    "MirrorgateEventLoopLags": Scenario(
        "20m",
        _delay("worker", "0+1x30"),
        (_delay("worker", "0+100x30"), _delay("control", "0+100x30")),
    ),
    "MirrorgateDescriptorsRunOut": Scenario(
        "8m",
        {
            **_one("process_open_fds", "900x20", ',process="worker-0"'),
            **_one("process_max_fds", "1000x20", ',process="worker-0"'),
        },
        (
            {
                **_one("process_open_fds", "700x20", ',process="worker-0"'),
                **_one("process_max_fds", "1000x20", ',process="worker-0"'),
            },
        ),
    ),
    "MirrorgateProcessRestarts": Scenario(
        "8m",
        _one("mirrorgate_process_restarts_total", "0x2 1 2x9", ',process="worker"'),
        (_one("mirrorgate_process_restarts_total", "0x2 1x9", ',process="worker"'),),
    ),
    "MirrorgateUnexpectedErrors": Scenario(
        "5m",
        _one("mirrorgate_task_crashes_total", "0x2 1x9", ',task="bans"'),
        (_one("mirrorgate_task_crashes_total", "1x9", ',task="bans"'),),
    ),
    "MirrorgateWatchdog": Scenario("1m", {}, ()),
}
