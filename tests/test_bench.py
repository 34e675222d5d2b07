# SPDX-License-Identifier: MIT
"""The reckoning of the benchmarks: intervals, limits, comparing, what callgrind writes. Nothing is timed here."""

from __future__ import annotations

import inspect
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench import compare, limits, plot, report, timing
from bench.callgrind import Functions, total
from bench.drivers.asyncpg import AsyncpgDriver
from bench.drivers.base import Driver, Step
from bench.drivers.fastpg import FastpgDriver
from bench.drivers.floor import FloorDriver
from bench.results import Result
from bench.stats import change, slice_ratio
from bench.works import WORKS, Work

ABOUT = {"commit": "0123456789", "date": "2026-01-01T00:00:00+00:00", "quick": False, "versions": {"fastpg": "0"}}


def noisy(middle: float, spread: float, seed: int, count: int = 11) -> list[float]:
    generator = random.Random(seed)
    return [middle * generator.uniform(1 - spread, 1 + spread) for _ in range(count)]


def result(fastpg: float = 10, asyncpg: float = 20, spread: float = 0.01, instructions: float = 20_000) -> Result:
    made = Result(dict(ABOUT))
    made.instructions = {"fetchval": {"fastpg": instructions, "asyncpg": 56_000, "floor": 16_000}}
    made.slices = {
        "fetchval": {
            "fastpg": {"cpu": noisy(fastpg, spread, 1), "wall": noisy(fastpg, spread, 2)},
            "asyncpg": {"cpu": noisy(asyncpg, spread, 3), "wall": noisy(asyncpg, spread, 4)},
        }
    }
    made.counts = {"transaction": {"fastpg": 2}}
    made.threads = {"reason": "there is a GIL"}
    return made


# ------------------------------------------------------------------- intervals


def test_a_ratio_is_taken_slice_by_slice() -> None:
    # A machine that slows down by ten in the middle: the ratio of each slice is 2.
    below = [1.0, 1.0, 10.0, 10.0, 10.0]
    assert slice_ratio([2 * value for value in below], below) == (2, 2, 2)


def test_the_interval_holds_the_median_and_grows_with_the_noise() -> None:
    calm = slice_ratio(noisy(2, 0.01, 1), noisy(1, 0.01, 2))
    wild = slice_ratio(noisy(2, 0.4, 1), noisy(1, 0.4, 2))
    assert calm.low <= calm.median <= calm.high
    assert wild.low < wild.median < wild.high
    assert wild.high - wild.low > 5 * (calm.high - calm.low)


def test_the_interval_is_the_same_every_time() -> None:
    assert slice_ratio(noisy(2, 0.4, 1), noisy(1, 0.4, 2)) == slice_ratio(noisy(2, 0.4, 1), noisy(1, 0.4, 2))


def test_slices_have_to_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        slice_ratio([1, 2, 3], [1, 2])


def test_the_inverse_of_a_ratio() -> None:
    ratio = slice_ratio(noisy(2, 0.3, 1), noisy(1, 0.3, 2))
    assert ratio.inverse() == (1 / ratio.median, 1 / ratio.high, 1 / ratio.low)


def test_a_change_is_between_runs_of_any_length() -> None:
    moved = change(noisy(2, 0.01, 1), noisy(1, 0.01, 2, count=5))
    assert moved.median == pytest.approx(0.5, rel=0.02)
    assert 0.45 < moved.low < moved.high < 0.55


# ------------------------------------------------------------------- comparing


def lost(before: Result, after: Result) -> list[str]:
    return [line.what for line in compare.compare(before, after) if line.lost]


def test_nothing_is_lost_between_a_result_and_itself() -> None:
    lines = compare.compare(result(), result())
    assert [line.what for line in lines] == ["fetchval, fastpg: instructions", "fetchval: asyncpg / fastpg"]
    assert not any(line.lost for line in lines)


@pytest.mark.parametrize(("instructions", "is_lost"), [(20_399, False), (20_401, True), (15_000, False)])
def test_two_per_cent_of_instructions_are_a_loss(instructions: float, is_lost: bool) -> None:
    assert lost(result(), result(instructions=instructions)) == ["fetchval, fastpg: instructions"] * is_lost


def test_a_ratio_is_lost_when_its_interval_excludes_a_tenth() -> None:
    assert lost(result(), result(fastpg=12)) == ["fetchval: asyncpg / fastpg"]
    assert lost(result(), result(fastpg=10.8)) == []  # 7 % are within the bound
    assert lost(result(), result(fastpg=5)) == []  # a gain
    assert lost(result(spread=0.5), result(fastpg=12, spread=0.5)) == []  # noise that may be nothing else


def test_a_slower_machine_is_no_loss() -> None:
    assert lost(result(), result(fastpg=30, asyncpg=60)) == []


def test_compare_exits_by_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, empty = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    result().store(before)
    result(fastpg=12).store(after)
    Result(dict(ABOUT)).store(empty)
    for paths, code in (((before, before), 0), ((before, after), 1), ((after, before), 0), ((before, empty), 2)):
        monkeypatch.setattr("sys.argv", ["compare", *map(str, paths)])
        assert compare.main() == code


def test_what_else_has_changed_is_told() -> None:
    after = result()
    after.about |= {"quick": True, "versions": {"fastpg": "1", "psqlpy": "0.13"}}
    assert compare.differences(result(), after) == [
        "psqlpy: none before, 0.13 after", "one of the two is a quick run"
    ]  # fmt: skip
    assert compare.differences(after, after) == []


# --------------------------------------------------------------- storing, limits


def test_a_result_is_stored_and_read(tmp_path: Path) -> None:
    made = result()
    made.store(tmp_path / "new" / "r.json")
    read = Result.load(tmp_path / "new" / "r.json")
    assert read.about == ABOUT
    assert read.instructions == made.instructions
    assert (read.counts, read.threads) == (made.counts, made.threads)
    assert read.slices["fetchval"]["asyncpg"]["cpu"] == pytest.approx(made.slices["fetchval"]["asyncpg"]["cpu"], 1e-4)


def test_a_limit_is_met_missed_or_unknown() -> None:
    most = limits.Limit("", lambda result: 1, 1)
    assert [most.verdict(value) for value in (1, 1.01, None)] == ["OK", "MISSED", "not measured"]
    least = limits.Limit("", lambda result: 1, 5, least=True)
    assert [least.verdict(value) for value in (5, 4.99, None)] == ["OK", "MISSED", "not measured"]
    assert limits.Limit("", lambda result: 1, None).verdict(7) == ""


def test_the_limits_read_the_result() -> None:
    measured = {limit.what: limit.measure(result()) for limit in limits.LIMITS}
    assert measured["fetchval: instructions above the floor"] == 4000
    assert measured["a transaction of one query: round trips"] == 2
    assert measured["pipeline, one Sync: instructions a query"] is None


def test_what_is_missed_or_unknown_is_a_failure_except_for_want_of_threads() -> None:
    failed = {limit.what for limit in limits.failures(result(instructions=30_000))}
    assert "fetchval: instructions above the floor" in failed
    assert "pool hand-back: waits for the server" in failed
    assert "a transaction of one query: round trips" not in failed
    assert "two threads: decoding, x one thread" not in failed
    assert "fetchval: instructions above the floor" not in {limit.what for limit in limits.failures(result())}


def test_every_limit_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_all(result())
    printed = capsys.readouterr().out
    assert all(limit.what in printed for limit in limits.LIMITS)
    assert "there is a GIL" in printed


def test_the_mean_of_the_pgbench_workloads_needs_all_seven() -> None:
    made = result()
    seven = [work.name for work in WORKS.values() if work.pgbench]
    assert len(seven) == 7
    made.slices = {name: result().slices["fetchval"] for name in seven[1:]}
    assert report.pgbench_mean(made, "asyncpg") is None
    made.slices[seven[0]] = result().slices["fetchval"]
    assert report.pgbench_mean(made, "asyncpg") == pytest.approx(2, rel=0.05)


def test_a_chart_is_an_image_with_a_bar_for_each_figure() -> None:
    root = ElementTree.fromstring(plot.chart("a < b", plot.cpu_groups(result())))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", WORKS["fetchval"].title, "asyncpg"} <= set(texts)
    bars = [element for element in root.iter("{http://www.w3.org/2000/svg}rect") if element.get("height") == "9"]
    assert [bar.get("fill") for bar in bars] == [plot.COLOURS["asyncpg"]]


# ------------------------------------------------------------- works and drivers


def test_every_driver_has_methods_for_works_only() -> None:
    kinds = {work.kind for work in WORKS.values()}
    for cls in (AsyncpgDriver, FastpgDriver, FloorDriver):
        methods = {name for name, _ in inspect.getmembers(cls, inspect.iscoroutinefunction) if name[0] != "_"}
        assert methods - {"step", "connect"} <= kinds
    assert all(hasattr(FastpgDriver, kind) for kind in kinds)


async def test_a_driver_without_a_method_has_no_step() -> None:
    assert await Driver("postgresql://nowhere").step(WORKS["fetchval"]) is None


class Counting(Driver):
    def __init__(self, error: Exception | None = None) -> None:
        super().__init__("postgresql://nowhere")
        self.error = error
        self.steps = 0

    async def fetchval(self, work: Work) -> Step:
        async def run() -> None:
            self.steps += 1
            if self.error is not None:
                raise self.error

        return Step(run)


async def test_a_peer_that_cannot_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    drivers = [("fastpg", Counting()), ("psqlpy", Counting(ValueError("no such type")))]
    taken = await timing.measure(WORKS["fetchval"], drivers, None, slices=2, seconds=0)
    assert {name: len(clocks["cpu"]) for name, clocks in taken.items()} == {"fastpg": 2}
    assert "psqlpy cannot: ValueError: no such type" in capsys.readouterr().err


async def test_fastpg_is_never_left_out() -> None:
    with pytest.raises(ValueError, match="ours"):
        await timing.measure(WORKS["fetchval"], [("fastpg", Counting(ValueError("ours")))], None, 1, 0)


def test_the_units_of_a_pool_work_are_those_of_its_tasks() -> None:
    assert all(work.units % work.tasks == 0 for work in WORKS.values())


# -------------------------------------------------------------------- callgrind

CALLGRIND = """\
version: 1
creator: callgrind-3.19.0
part: 2
summary: 1000
ob=(1) /usr/lib/libone.so.1
fl=(1) ???
fn=(1) outer
0 100
cfn=(2) inner'2
calls=3 0
0 600
cob=(2) /usr/lib/two.cpython-311.so
cfn=(3) other
calls=1 0
+0 250
-0 50
fn=(2)
0 600
ob=(2)
fn=(3)
* 250
"""


def test_what_callgrind_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "callgrind.out"
    path.write_text(CALLGRIND)
    functions = Functions(path)
    assert total(path) == sum(functions.own.values()) == 1000
    assert functions.own == {"outer [libone]": 150, "inner [libone]": 600, "other [two]": 250}
    assert functions.below["outer [libone]"] == 1000
    assert functions.calls == {"inner [libone]": 3, "other [two]": 1}


def test_a_file_without_a_summary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "callgrind.out"
    path.write_text("version: 1\n")
    with pytest.raises(SystemExit, match="no summary"):
        total(path)
