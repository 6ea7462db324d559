"""Metrics of the monitor, and the numbers of a probe and a mirror's health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import Family, MetricRegistry
from monitor.common.tasks import FAMILIES as TASK_FAMILIES
from monitor.diagnosis.finding import Finding
from monitor.engine.prober import Probe
from monitor.health.snapshot import MirrorHealth, Standing, State
from monitor.health.uptime import Known
from monitor.probes.results import Canary, Operation, PathResult, StepResult
from monitor.store.open_file import Space
from monitor.store.store import Store
from monitor.store.write_queue import QUEUE_SIZE

RESULTS = ("ok", "failed")
CANARY = "canary"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

PROBES = "mirrorgate_probes"
FAILURES = "mirrorgate_probe_failures"
LAST_PROBE = "mirrorgate_last_probe_timestamp_seconds"
LATE = "mirrorgate_probe_late_seconds"
DURATION = "mirrorgate_probe_duration_seconds"
STATE = "mirrorgate_mirror_state"
IN_ROTATION = "mirrorgate_mirror_in_rotation"
INFO = "mirrorgate_mirror_info"
VERDICT = "mirrorgate_verdict"
TLS_NOT_AFTER = "mirrorgate_tls_not_after_timestamp_seconds"
DROPPED = "mirrorgate_store_dropped_writes"
STORE_FAILING = "mirrorgate_store_failing"
STORE_UP = "mirrorgate_store_up"
STORE_FAILED = "mirrorgate_store_failed_writes"
STORE_QUEUED = "mirrorgate_store_queued_writes"
STORE_QUEUE_LIMIT = "mirrorgate_store_queued_writes_limit"
STORE_SECONDS = "mirrorgate_store_write_duration_seconds"
STORE_SIZE = "mirrorgate_store_size_bytes"
STORE_FREE = "mirrorgate_store_free_bytes"
STATE_CHANGES = "mirrorgate_mirror_state_changes"
PROBE_INTERVAL = "mirrorgate_probe_interval_seconds"
CANARY_TOKENS = "mirrorgate_canary_tokens"
PATHS = "mirrorgate_mirror_paths"
EXPERIMENTS = "mirrorgate_experiments"
QUARANTINED = "mirrorgate_quarantined_endpoints"
UPTIME = "mirrorgate_uptime_ratio"
COVERAGE = "mirrorgate_uptime_coverage_ratio"
INCIDENTS_OPEN = "mirrorgate_incidents_open"

FAMILIES: tuple[Family, ...] = (
    Family(PROBES, "counter", "Steps of probes, by result.", ("mirror", "probe", "result")),
    Family(
        FAILURES,
        "counter",
        "Failed steps of probes, by OONI's names for operation and failure.",
        ("mirror", "operation", "failure"),
    ),
    Family(
        CANARY_TOKENS,
        "counter",
        "Tokens that canaries took, assumed where a mirror does not say.",
        ("mirror",),
    ),
    Family(LAST_PROBE, "gauge", "When the last probe of a mirror ended.", ("mirror",)),
    Family(DURATION, "histogram", "Phases of probes that went well.", ("mirror", "phase"), SECONDS),
    Family(LATE, "histogram", "How late probes began.", (), SECONDS),
    Family(STATE, "gauge", "1 for the state that a mirror is in.", ("mirror", "state")),
    Family(IN_ROTATION, "gauge", "Whether new requests may go to a mirror.", ("mirror",)),
    Family(
        INFO,
        "gauge",
        "Always 1; region as configured, CDN as detected.",
        ("mirror", "region", "cdn"),
    ),
    Family(
        VERDICT,
        "gauge",
        "1 for each verdict on a mirror, or on a path or name of it.",
        ("mirror", "verdict"),
    ),
    Family(
        PATHS,
        "gauge",
        "Paths of a mirror (one of its names over one of its addresses), by how they stand.",
        ("mirror", "standing"),
    ),
    Family(
        EXPERIMENTS,
        "counter",
        "Experiments on suspected paths that have ended, by what they found.",
        ("mirror", "verdict", "level"),
    ),
    Family(
        QUARANTINED,
        "gauge",
        "Endpoints (address and port) that nobody connects to, after a suspected block.",
    ),
    Family(TLS_NOT_AFTER, "gauge", "When a mirror's certificate ends.", ("mirror",)),
    Family(DROPPED, "counter", "History that was dropped because the store could not keep up."),
    Family(
        STORE_FAILING, "gauge", "1 while the store cannot be written; `mirrorgate status` says why."
    ),
    Family(STORE_UP, "gauge", "1 while the store takes what is written; 0 while it does not."),
    Family(STORE_FAILED, "counter", "Batches of history that the store did not take."),
    Family(STORE_QUEUED, "gauge", "History that waits to be written."),
    Family(STORE_QUEUE_LIMIT, "gauge", "History that may wait; more is dropped."),
    Family(STORE_SECONDS, "histogram", "Writing one batch of history.", (), SECONDS),
    Family(STORE_SIZE, "gauge", "Size of the SQLite file and of its log."),
    Family(STORE_FREE, "gauge", "Free space on the disk that the SQLite file is on."),
    Family(STATE_CHANGES, "counter", "Changes into a state.", ("mirror", "state")),
    Family(PROBE_INTERVAL, "gauge", "Seconds between two probes of a mirror, as configured."),
    Family(
        UPTIME,
        "gauge",
        "Share of the known time of a window in which a mirror was up.",
        ("mirror", "window"),
    ),
    Family(
        COVERAGE, "gauge", "Share of a window in which a mirror was watched.", ("mirror", "window")
    ),
    Family(INCIDENTS_OPEN, "gauge", "Incidents that are not over."),
    *TASK_FAMILIES,
)


def begin_at_zero(totals: MetricRegistry, mirror_id: str) -> None:
    """Make the series of closed sets: the increase of a counter that begins at 1 is not seen."""
    for operation, result in product((*Operation, CANARY), RESULTS):
        totals.cells(PROBES, (mirror_id, operation, result))
    for state in State:
        totals.cells(STATE_CHANGES, (mirror_id, state.value))
    totals.cells(CANARY_TOKENS, (mirror_id,))


def count_probe(totals: MetricRegistry, mirror_id: str, probe: Probe, now: float) -> None:
    """Count the steps of one probe."""
    totals.set(LAST_PROBE, now, (mirror_id,))
    _count_step(totals, mirror_id, probe.resolution)
    count_paths(totals, mirror_id, probe.paths)


def count_paths(totals: MetricRegistry, mirror_id: str, paths: Sequence[PathResult]) -> None:
    """Count the steps over these paths."""
    for path in paths:
        for step in path.steps:
            _count_step(totals, mirror_id, step)


def _count_step(totals: MetricRegistry, mirror_id: str, step: StepResult) -> None:
    totals.add(PROBES, (mirror_id, step.operation.value, RESULTS[bool(step.failure)]))
    if step.failure:
        totals.add(FAILURES, (mirror_id, step.operation.value, step.failure))


def count_canary(totals: MetricRegistry, mirror_id: str, canary: Canary) -> None:
    """Count one real completion and what it took."""
    totals.add(PROBES, (mirror_id, CANARY, RESULTS[bool(canary.failure)]))
    totals.add(CANARY_TOKENS, (mirror_id,), canary.tokens)
    if canary.failure:
        totals.add(FAILURES, (mirror_id, CANARY, canary.failure))


def observe_latency(totals: MetricRegistry, health: MirrorHealth) -> None:
    """Add the phases of the last good probe to the histograms."""
    latency = health.latency
    phases = {
        "resolve": latency.resolve,
        "connect": latency.connect,
        "tls": latency.tls,
        "first_byte": latency.first_byte,
    }
    for phase, milliseconds in phases.items():
        if milliseconds is not None:
            totals.observe(DURATION, milliseconds / 1000, (health.id, phase))


def show_health(totals: MetricRegistry, mirror: MirrorConfig, health: MirrorHealth) -> None:
    """Set what is shown of one mirror; what it no longer is becomes 0 or goes."""
    for state in State:
        totals.set(STATE, float(state is health.state), (mirror.id, state.value))
    totals.set(IN_ROTATION, float(health.in_rotation), (mirror.id,))
    totals.remove("mirror", mirror.id, (INFO, VERDICT, TLS_NOT_AFTER))
    totals.set(INFO, 1.0, (mirror.id, mirror.region, health.cdn_detected))
    for verdict in health.verdicts:
        totals.set(VERDICT, 1.0, (mirror.id, verdict))
    for standing in Standing:
        count = sum(path.standing is standing for path in health.paths)
        totals.set(PATHS, float(count), (mirror.id, standing.value))
    if health.tls_not_after is not None:
        totals.set(TLS_NOT_AFTER, health.tls_not_after, (mirror.id,))


def count_experiment(totals: MetricRegistry, mirror_id: str, finding: Finding) -> None:
    """Count a block test that has ended."""
    totals.add(EXPERIMENTS, (mirror_id, finding.verdict, finding.level.value))


def show_quarantine(totals: MetricRegistry, endpoints: int) -> None:
    """Set how many endpoints are held."""
    totals.set(QUARANTINED, float(endpoints))


def show_store(totals: MetricRegistry, store: Store) -> None:
    """Set how the store is."""
    failing = bool(store.problem)
    totals.set(STORE_FAILING, float(failing))
    totals.set(STORE_UP, float(not failing))
    totals.set(STORE_FAILED, store.failed)
    totals.set(STORE_QUEUED, store.queued)
    totals.set(STORE_QUEUE_LIMIT, QUEUE_SIZE)
    totals.cells(STORE_SECONDS)


def show_space(totals: MetricRegistry, space: Space | None) -> None:
    """Set what the store's file takes and may still take."""
    if space is not None:
        totals.set(STORE_SIZE, space.used)
        totals.set(STORE_FREE, space.free)


def show_uptime(totals: MetricRegistry, mirror_id: str, windows: Mapping[str, Known]) -> None:
    """Set the uptime of one mirror; where nothing is known of a window there is none."""
    known = {name: k.up + k.degraded + k.down for name, k in windows.items()}
    if not all(known.values()):
        totals.remove("mirror", mirror_id, (UPTIME,))
    for name, window in windows.items():
        if window.total:  # none at the moment of its first probe
            totals.set(COVERAGE, window.covered / window.total, (mirror_id, name))
        if known[name] > 0:
            totals.set(UPTIME, (window.up + window.degraded) / known[name], (mirror_id, name))
