"""The pure parts of the benchmarks: accounting, medians, goals, tables, and what loads check."""

import os
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks import documents, scale
from benchmarks.accounting import PAGE, TICK, Stat, Usage, parse_stat, tree_of, usage
from benchmarks.cli import parser
from benchmarks.cores import Cores, TooFewCores, choose
from benchmarks.counting import Counts
from benchmarks.events import EVENT_BYTES, WrongEvent, event, moment_of
from benchmarks.goals import Goal, outcomes
from benchmarks.load import wrk
from benchmarks.load.result import LoadFailed, Result, percentile
from benchmarks.load.wrk import parse
from benchmarks.proxies import proxies
from benchmarks.published import Published
from benchmarks.report import columns, markdown, terminal
from benchmarks.requests import chat_body, head, headers, reply
from benchmarks.results import RESULTS
from benchmarks.rounds import rotated
from benchmarks.scale import SIZES
from benchmarks.stacks import table
from benchmarks.summary import Sample, median, rows
from benchmarks.workloads import by_name

STAT = (
    "812 (a (strange) name) S 1 812 812 0 -1 4194304 100 200 0 0 "
    "30 20 7 3 20 0 1 0 5000 104857600 2560 18446744073709551615\n"
)


def test_cpu_time_of_a_process_is_its_own_and_that_of_children_it_waited_for():
    assert parse_stat(STAT) == Stat(pid=812, parent=1, cpu=60 * TICK, resident=2560 * PAGE)


def test_a_tree_is_the_root_and_all_that_descends_from_it():
    found = [Stat(pid, parent, 0.0, 0) for pid, parent in ((9, 7), (1, 0), (7, 1), (8, 1), (5, 9))]
    assert sorted(stat.pid for stat in tree_of(7, found)) == [5, 7, 9]


def test_the_usage_of_a_real_process_is_read():
    used = usage(os.getpid(), {os.getpid()})
    assert used.cpu >= used.worker_cpu > 0
    assert used.peak > PAGE


def test_a_median_leaves_out_what_is_not_there():
    assert median([3.0, None, 1.0, 2.0]) == 2.0
    assert median([None]) is None


def test_a_percentile_is_the_nearest_rank():
    assert percentile(range(100, 0, -1), 0.5) == 50
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([7.0], 0.99) == 7.0


def sample(proxy: str, turn: int, cpu: float, p50: float, workload: str = "chat") -> Sample:
    before, after = Usage(1.0, 0.0, 1, 1), Usage(1.0 + cpu / 1e3, 0.0, 1, 1)
    return Sample.of(by_name(workload), proxy, turn, Result(1000, 2.0, p50, p50), before, after)


def test_costs_are_per_unit_and_a_row_is_the_median_of_its_rounds():
    measured = [sample("nginx", turn, cpu, 100) for turn, cpu in enumerate((20, 90, 22))]
    measured.append(Sample.failed(by_name("chat"), "nginx", 3, "it broke"))
    (row,) = rows(measured)
    assert (row.samples, row.rate, row.failure) == (3, 500.0, "it broke")
    assert row.cpu == pytest.approx(22)


def test_delays_are_told_beyond_those_without_a_proxy():
    found = {
        row.proxy: row for row in rows([sample("nginx", 0, 1, 130), sample("direct", 0, 1, 30)])
    }
    assert found["nginx"].added_p50 == 100
    assert found["direct"].added_p50 is None


def test_a_goal_is_reached_missed_or_not_measured():
    measured = rows([sample("mirrorgate", 0, 50, 1), sample("nginx", 0, 25, 1)])
    goals = (
        Goal("chat", 2.1, beside="nginx"),
        Goal("chat", 1.9, beside="nginx"),
        Goal("chat", 1.0, beside="vllm-router"),
        Goal("idle-streams", 20),
    )
    assert [each.reached for each in outcomes(measured, goals)] == [True, False, None, None]


def test_a_memory_goal_is_in_kib():
    measured = rows([Sample("idle-streams", "mirrorgate", 0, memory=21 * 1024.0)])
    (outcome,) = outcomes(measured, [Goal("idle-streams", 20)])
    assert (outcome.told, outcome.reached) == ("21.0 KiB", False)


def test_a_goal_for_a_delay_is_the_difference_of_two_proxies():
    measured = rows([sample("mirrorgate", 0, 1, 250), sample("nginx", 0, 1, 200)])
    (outcome,) = outcomes(measured, [Goal("chat", 40, beside="nginx", delay=True)])
    assert (outcome.told, outcome.reached) == ("50.0 µs", False)


def test_the_tables_show_ratios_failures_and_who_was_left_out():
    measured = rows([sample("mirrorgate", 0, 50, 1), sample("nginx", 0, 25, 1)])
    measured += rows([Sample.failed(by_name("sse"), "haproxy", 0, "no | answer")])
    left_out = {"vllm-router": "no wheel"}
    text = terminal(measured, outcomes(measured), left_out)
    assert "not measured: vllm-router: no wheel" in text
    page = markdown(measured, outcomes(measured), left_out, {"kernel": "Linux 6"}, "How.")
    assert "| mirrorgate | 50.0 | – | 2.00 | – | – | 500 |" in page
    assert "no / answer" in page
    assert "| kernel | Linux 6 |" in page


def test_columns_are_as_wide_as_their_widest_cell():
    assert columns([("a", "bc"), ("long", "d")]) == "a     bc\nlong   d"


def test_every_turn_begins_with_another_proxy():
    known = list(proxies().values())[:3]
    firsts = [rotated(known, turn)[0] for turn in range(4)]
    assert firsts == [*known, known[0]]
    assert len(rotated(known, 1)) == 3


def test_a_changed_byte_of_an_event_is_noticed():
    good = event(1234)
    assert len(good) == EVENT_BYTES == 230
    assert moment_of(good) == 1234
    for place in (0, len(good) // 2, len(good) - 1):
        changed = bytearray(good)
        changed[place] ^= 1
        with pytest.raises(WrongEvent):
            moment_of(bytes(changed))


def test_requests_and_replies_have_the_sizes_that_the_workloads_name():
    assert len(chat_body(1_000)) == 1_000
    assert len(reply(400)) == 400
    assert len(headers(80, 1_000)) == 14
    assert head("/v1/x", 80, 1_000).endswith(b"Content-Length: 1000\r\n\r\n")


def test_a_failed_request_makes_a_measurement_worthless():
    line = '\n{"requests":10,"duration":2000000,"p50":5,"p99":9,"errors":%d}\n'
    assert parse(line % 0) == Result(units=10, seconds=2.0, p50=5, p99=9)
    with pytest.raises(LoadFailed, match="1 of 10"):
        parse(line % 1)


def test_a_second_worker_has_a_core_of_its_own_where_there_is_one():
    assert choose({4, 5}).for_workers(2) == "5"
    assert Cores(0, 1, 2).for_workers(2) == "1,2"
    assert Cores(0, 1, 2).for_workers(1) == "1"
    with pytest.raises(TooFewCores):
        choose({0})


def test_a_misspelt_workload_is_refused(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--workload", "chat,see"])
    assert "unknown: see" in capsys.readouterr().err


def test_paced_work_rests_between_requests_and_other_work_does_not():
    assert (wrk.paced().rest, wrk.paced_many().rest, wrk.chat().rest) == (16, 128, 0)


def published() -> Published:
    shown = {
        "mirrorgate-compiled": Sample("tail", "", 0, cpu=31, p50=190, p99=420),
        "floor": Sample("tail", "", 0, cpu=14, p50=120, p99=200),
        "direct": Sample("tail", "", 0, p50=60, p99=100),
    }
    samples = [replace(each, proxy=name) for name, each in shown.items()]
    samples += [replace(each, workload="chat") for each in samples]
    return Published("run", "abc", "2026-11-29", {(r.workload, r.proxy): r for r in rows(samples)})


def test_published_results_match_the_measurements_in_both_languages():
    english, chinese = published().summary(), published().summary(chinese=True)
    assert "| | mirrorgate |\n" in english  # the relay is no product, and nothing else was measured
    assert "CPU, µs | 31 |" in english
    assert "CPU，微秒 | 31 |" in chinese
    assert "p99, µs | 130 / 320 |" in english
    assert "p99，微秒 | 130 / 320 |" in chinese
    assert "KiB" not in english
    assert "| 32 connections, 2,000 requests/s | 130 / 320 | 60 / 100 |" in published().page()


def test_published_plots_are_well_formed_and_longer_is_more():
    plots = published().plots()
    assert all(ElementTree.fromstring(plot).tag.endswith("svg") for plot in plots.values())
    bars = ElementTree.fromstring(plots["benchmarks-cpu.svg"]).findall(".//{*}rect")
    assert [float(bar.attrib["width"]) for bar in bars] == [480.0, pytest.approx(216.8, abs=0.1)]


def test_the_pages_show_the_run_that_they_name():
    readme = documents.read(documents.ROOT / "README.md", "benchmarks")
    stem = readme.rpartition("results/")[2].partition(".md")[0]
    run = Published.read(RESULTS / f"{stem}.json")
    chinese = documents.read(documents.ROOT / "README.zh.md", "benchmarks")
    assert (readme, chinese) == (run.summary(), run.summary(chinese=True))
    assert documents.read(documents.PAGE, "results") == run.page()
    assert all((documents.DOCS / name).read_text() == svg for name, svg in run.plots().items())


def test_a_part_is_put_between_its_comments_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n")
    documents.put(page, "x", "new")
    assert page.read_text() == "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n"
    assert documents.read(page, "x") == "new"
    with pytest.raises(ValueError, match=r"page\.md has no part 'y'"):
        documents.put(page, "y", "new")


def test_scale_is_told_in_instructions_of_a_small_instance():
    small = Counts({"chat": 1000, "metered": 2000, "event": 100, "metered event": 400}, 1)
    large = Counts({"chat": 1100, "metered": 2000, "event": 100, "metered event": 400}, 1)
    counted = {"pure": {"": small, **{size.about: large for size in SIZES}}}
    lines = scale.table(counted).splitlines()
    assert "| pure | 3 mirrors, no bans, one key | 1,000 | 2,000 | 100 | 400 | |" in lines
    assert "| | 200 mirrors | × 1.100 | × 1.000 | × 1.000 | × 1.000 | ≤ × 1.1 |" in lines


def test_stacks_become_shares_and_recursion_counts_once():
    lines = ["main;f;f 3\n", "main;g 1\n", "\n"]
    assert table(lines).splitlines()[1:] == ["  75.0    75.0  f", "  25.0    25.0  g"]
