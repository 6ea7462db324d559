"""Panels, variables and layout that all dashboards have in common, on Grafana's own SDK.

Plain panels only, so that every installation of Grafana can draw them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

RATE = "$__rate_interval"
INSTANCE = 'instance=~"$instance"'
MIRROR = f'{INSTANCE}, mirror=~"$mirror"'
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
STATES = {
    "up": "green",
    "degraded": "yellow",
    "down": "red",
    "maintenance": "blue",
    "unknown": "text",
}
BAD = "red"
WARN = "orange"
GOOD = "green"
PLAIN = "blue"

Query = tuple[str, str]
"""An expression, and the legend of its series."""
Step = tuple[float | None, str]
"""A threshold from which on a colour holds; None: from the beginning."""


@dataclass(frozen=True)
class Panel:
    """A panel before it has its place: a builder of the SDK, and how much room it wants."""

    builder: Any
    width: int
    height: int


def _thresholds(steps: Iterable[Step]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def _targets(queries: Sequence[Query], *, now: bool = False, exemplars: bool = False) -> list[Any]:
    made = []
    for letter, (expr, legend) in zip("ABCDEFGHIJ", queries, strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(expr).datasource(SOURCE)
        if now:
            query = query.instant().format(PromQueryFormat.TABLE).legend_format(legend)
        else:
            query = query.range().legend_format(legend)
        made.append(query.exemplar(True) if exemplars else query)
    return made


def _legend(calcs: Sequence[str]) -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(list(calcs))
    )


def lines(
    title: str,
    help: str,
    *queries: Query,
    unit: str = "short",
    width: int = 12,
    height: int = 8,
    stack: bool = False,
    most: float | None = None,
    limit: Sequence[Step] = (),
    colors: dict[str, str] | None = None,
    log_scale: bool = False,
    exemplars: bool = False,
    or_none: bool = False,
) -> Panel:
    """Series over time. `limit`: steps that are drawn as dashed lines; `colors`: of series, by
    their legend; `or_none`: a line at 0 while there are none, which is not the same as no data."""
    if or_none:
        found = " or ".join(f"({expr})" for expr, _ in queries)
        zero = f"0 * sum(mirrorgate_build_info{{{INSTANCE}}}) unless on () ({found})"
        queries = (*queries, (zero, "none"))
    made = (
        timeseries.Panel()
        .title(title)
        .description(help)
        .datasource(SOURCE)
        .targets(_targets(queries, exemplars=exemplars))
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stack else 6)
        .show_points(shapes.VisibilityMode.NEVER)
        .legend(_legend(("lastNotNull", "max")))
        .tooltip(
            common.VizTooltipOptions()
            .mode(shapes.TooltipDisplayMode.MULTI)
            .sort(shapes.SortOrder.DESCENDING)
        )
    )
    if stack:
        made = made.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if most is not None:
        made = made.max(most)
    if log_scale:
        scale = common.ScaleDistributionConfig().type(shapes.ScaleDistribution.LOG).log(10)
        made = made.scale_distribution(scale)
    if limit:
        style = common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds(_thresholds(limit)).thresholds_style(style)
    for name, color in (colors or {}).items():
        fixed = {"mode": "fixed", "fixedColor": color}
        made = made.override_by_name(name, [models.DynamicConfigValue(id_val="color", value=fixed)])
    return Panel(made, width, height)


def number(
    title: str,
    help: str,
    *queries: Query,
    steps: Sequence[Step] = ((None, PLAIN),),
    unit: str = "short",
    width: int = 4,
    height: int = 4,
    decimals: int | None = None,
    words: dict[str, tuple[str, str]] | None = None,
    now: bool = False,
) -> Panel:
    """A number with thresholds. `words`: what is said instead of a value, and its colour; `now`:
    asked for once, and not over time, as it takes long."""
    made = (
        stat.Panel()
        .title(title)
        .description(help)
        .datasource(SOURCE)
        .targets(_targets(queries, now=now))
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .color_mode(shapes.BigValueColorMode.VALUE)
        .graph_mode(shapes.BigValueGraphMode.NONE if now else shapes.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    if decimals is not None:
        made = made.decimals(decimals)
    if words:
        made = made.mappings([_words(words)])
    return Panel(made, width, height)


def _words(words: dict[str, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(words.items())
        }
    )


def bars(
    title: str,
    help: str,
    *queries: Query,
    steps: Sequence[Step],
    unit: str = "percentunit",
    least: float = 0.0,
    most: float = 1.0,
    width: int = 12,
    height: int = 8,
) -> Panel:
    """A horizontal bar for each series, as it is now."""
    made = (
        bargauge.Panel()
        .title(title)
        .description(help)
        .datasource(SOURCE)
        .targets(_targets(queries))
        .unit(unit)
        .min(least)
        .max(most)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    return Panel(made, width, height)


def heat(
    title: str, help: str, expr: str, *, unit: str = "s", width: int = 12, height: int = 8
) -> Panel:
    """The buckets of a histogram over time; `expr` has one series for each `le`."""
    query = prometheus.Dataquery().ref_id("A").expr(expr).datasource(SOURCE)
    query = query.range().legend_format("{{le}}")
    made = (
        heatmap.Panel()
        .title(title)
        .description(help)
        .datasource(SOURCE)
        .targets([query.format(PromQueryFormat.HEATMAP)])
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .exponent(0.5)
            .steps(64)
            .reverse(False)
            .fill("dark-orange")
        )
    )
    return Panel(made, width, height)


def timeline(
    title: str,
    help: str,
    expr: str,
    legend: str,
    words: dict[str, tuple[str, str]],
    *,
    width: int = WIDTH,
    height: int = 8,
) -> Panel:
    """Values over time as coloured bars with words."""
    made = (
        statetimeline.Panel()
        .title(title)
        .description(help)
        .datasource(SOURCE)
        .targets(_targets([(expr, legend)]))
        .unit("short")
        .mappings([_words(words)])
        .thresholds(_thresholds([(None, "text")]))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .fill_opacity(75)
        .line_width(0)
        .merge_values(True)
        .row_height(0.85)
        .show_value(shapes.VisibilityMode.AUTO)
        .legend(common.VizLegendOptions().show_legend(True).display_mode(_LIST).placement(_BOTTOM))
    )
    return Panel(made, width, height)


_LIST = shapes.LegendDisplayMode.LIST
_BOTTOM = shapes.LegendPlacement.BOTTOM


def states(width: int = WIDTH, height: int = 8) -> Panel:
    """The states of mirrors over time."""
    numbers = {state: index for index, state in enumerate(STATES)}
    chosen = " or ".join(
        f'(mirrorgate_mirror_state{{{MIRROR}, state="{state}"}} == 1) * {code}'
        for state, code in numbers.items()
    )
    return timeline(
        "State of every mirror",
        "What the monitor thinks of every mirror. Unknown means that it was blind, not that the "
        "mirror was down; degraded mirrors still get requests.",
        f"max by (instance, mirror) ({chosen})",
        "{{mirror}} ({{instance}})",
        {str(code): (state, STATES[state]) for state, code in numbers.items()},
        width=width,
        height=height,
    )


Kind = Literal["string", "number"]


def rows(
    title: str,
    help: str,
    *columns: tuple[str, str, str],
    by: str,
    names: dict[str, str],
    sort: str,
    hidden: Sequence[str] = (),
    width: int = WIDTH,
    height: int = 8,
) -> Panel:
    """A table of present values: columns are (expression, heading, unit), joined on the label `by`;
    `names` gives labels a heading, in their order."""
    made = (
        table.Panel()
        .title(title)
        .description(help)
        .datasource(SOURCE)
        .targets(_targets([(expr, "") for expr, _, _ in columns], now=True))
        .unit("short")
        .cell_height(shapes.TableCellHeight.SM)
        .cell_options(shapes.TableAutoCellOptions())
        .show_header(True)
        .sort_by([common.TableSortByFieldState().display_name(sort).desc(False)])
    )
    values = ["Value"] if len(columns) == 1 else [f"Value #{c}" for c in "ABCDEFGHIJ"]
    headings = dict(zip(values, (heading for _, heading, _ in columns), strict=False))
    shown = {**names, **{value: heading for value, heading in headings.items() if heading}}
    unseen = ("Time", "__name__", "job", *hidden, *(v for v, h in headings.items() if not h))
    organised = {
        "excludeByName": dict.fromkeys(unseen, True),
        "indexByName": {name: index for index, name in enumerate(shown)},
        "renameByName": shown,
    }
    steps = [("organize", organised)]
    if len(columns) > 1:
        steps.insert(0, ("joinByField", {"byField": by, "mode": "outer"}))
    made = made.transformations(
        [models.DataTransformerConfig(id_val=name, options=options) for name, options in steps]
    )
    for _, heading, unit in columns:
        if heading and unit != "short":
            values_of = [models.DynamicConfigValue(id_val="unit", value=unit)]
            made = made.override_by_name(heading, values_of)
    return Panel(made, width, height)


def quantile(q: float, family: str, by: str = "", where: str = MIRROR) -> str:
    """A quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({family}_bucket{{{where}}}[{RATE}])))"


def summed(family: str, by: str = "", where: str = MIRROR, window: str = RATE) -> str:
    """The rate of a counter."""
    group = f"sum by ({by})" if by else "sum"
    return f"{group} (rate({family}{{{where}}}[{window}]))"


def grown(family: str, by: str = "", where: str = MIRROR, window: str = RATE) -> str:
    """The increase of a counter."""
    group = f"sum by ({by})" if by else "sum"
    return f"{group} (increase({family}{{{where}}}[{window}]))"


def present(how: str, family: str, by: str = "", where: str = MIRROR) -> str:
    """A gauge as it is, added up by `how`."""
    group = f"{how} by ({by}) " if by else how
    return f"{group}({family}{{{where}}})"


def seen(expr: str) -> str:
    """Only the series that have a value: most of a closed set never have one."""
    return f"{expr} > 0"


Section = tuple[str, Sequence[Panel]]
"""A heading, and the panels below it."""


def board(uid: str, title: str, help: str, *sections: Section, mirrors: bool = True) -> Any:
    """A whole dashboard: panels from left to right, numbered, those of a line equally high."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(help)
        .tags(["mirrorgate"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboard.DashboardLink("mirrorgate")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["mirrorgate"])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
        )
    )
    for variable in _variables(mirrors):
        made = made.with_variable(variable)
    for annotation in _annotations():
        made = made.annotation(annotation)
    y, number = 0, 1
    for heading, panels in sections:
        place = models.GridPos(x=0, y=y, w=WIDTH, h=1)
        made = made.with_row(dashboard.Row(heading).id(number).grid_pos(place))
        y, number, x, height = y + 1, number + 1, 0, 0
        for panel in panels:
            if x + panel.width > WIDTH:
                y, x, height = y + height, 0, 0
            place = models.GridPos(x=x, y=y, w=panel.width, h=panel.height)
            made = made.with_panel(panel.builder.id(number).grid_pos(place))
            number, x, height = number + 1, x + panel.width, max(height, panel.height)
        y += height
    return made.build()


def _variables(mirrors: bool) -> list[Any]:
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    found = [source, _values("instance", "Instance", "mirrorgate_build_info")]
    if mirrors:
        named = f"mirrorgate_mirror_info{{{INSTANCE}}}"
        found.append(_values("mirror", "Mirror", named))
    return found


def _values(name: str, label: str, of: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({of}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def _annotations() -> list[dashboard.AnnotationQuery]:
    changed = f"{grown('mirrorgate_mirror_state_changes_total', 'mirror, state')} > 0"
    ejected = f"{grown('mirrorgate_ejections_total', 'mirror, cause')} > 0"
    reloaded = f"changes(mirrorgate_config_last_reload_success_timestamp_seconds{{{INSTANCE}}}"
    return [
        _annotation("State changes", WARN, changed, "{{mirror}} is {{state}}"),
        _annotation("Ejections", BAD, ejected, "{{mirror}} is ejected: {{cause}}"),
        _annotation("Reloads", PLAIN, f"{reloaded}[{RATE}]) > 0", "configuration reloaded"),
    ]


def _annotation(name: str, color: str, expr: str, title: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(color)
        .expr(expr)
        .step("60s")
        .title_format(title)
    )
