# SPDX-License-Identifier: MIT
"""Servers, event loops, and the rule that no test skips unnoticed."""

from __future__ import annotations

import asyncio
import fnmatch
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.server import AnyServer, Servers

# The same examples in every run: what a run finds, the next one finds too. New ones come with `make fuzz`.
settings.register_profile("default", derandomize=True, deadline=None)
settings.load_profile("default")
settings.register_profile("sanitize", derandomize=True, max_examples=20, deadline=None)
settings.register_profile("fuzz", derandomize=False, max_examples=5000, deadline=None)

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")
unexpected: pytest.StashKey[list[str]] = pytest.StashKey()


NEED_SERVERS = {"servers", "server_with", "server", "dsn"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-server", action="store_true", help="only the tests that need no PostgreSQL server")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.nodeid:  # another one in every process; pytest-xdist then finds no two that agree
            raise pytest.UsageError(f"the address of an object in the name of a test: {item.nodeid}")
    if config.getoption("--no-server"):
        needy = [item for item in items if NEED_SERVERS & set(getattr(item, "fixturenames", ()))]
        config.hook.pytest_deselected(items=needy)
        items[:] = [item for item in items if item not in set(needy)]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """All servers of this run."""
    servers = Servers()
    try:
        yield servers
    finally:
        servers.stop()


@pytest.fixture(scope="session")
def server_with(servers: Servers) -> Callable[..., AnyServer]:
    """server_with("tls", "pg16"): a server with these capabilities, that version or later; skips without one."""

    def get(*wanted: str) -> AnyServer:
        server = servers.get(*wanted)
        if server is None:
            pytest.skip(f"no PostgreSQL server here with: {' '.join(wanted) or 'anything'}")
        return server

    return get


@pytest.fixture(scope="session")
def server(server_with: Callable[..., AnyServer]) -> AnyServer:
    """The first PostgreSQL server there is."""
    return server_with()


@pytest.fixture(scope="session")
def dsn(server_with: Callable[..., AnyServer]) -> str:
    """Its URI, for any driver. Not by way of `server`, a name that test modules use for their own fixture."""
    return server_with().dsn


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every async test runs on asyncio's loop and on uvloop's, where there is one."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if sys.platform != "win32":
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories


def allowed_skips() -> list[str]:
    """The patterns of allowed_skips.txt: a glob over 'nodeid: reason', two spaces or more, why it may skip."""
    lines = (line.strip() for line in ALLOWED_SKIPS.read_text().splitlines())
    return [line.split("  ")[0] for line in lines if line and not line.startswith("#")]


def pytest_configure(config: pytest.Config) -> None:
    if sys.version_info < (3, 11):
        # asyncio's start_tls() of Python 3.10, when cancelled, forgets the TLS transport that it has made, and the
        # transport then says that it was not closed. The socket below it is closed.
        leak = "ignore:Exception ignored in. <function _SSLProtocolTransport.__del__"
        config.addinivalue_line("filterwarnings", f"{leak}:pytest.PytestUnraisableExceptionWarning")
    config.stash[unexpected] = []
    config.pluginmanager.register(SkipGuard(config, allowed_skips()), "fastpg-skips")


class SkipGuard:
    """Fails the run on a skip that allowed_skips.txt does not name."""

    def __init__(self, config: pytest.Config, allowed: list[str]) -> None:
        self.found = config.stash[unexpected]
        self.allowed = allowed

    def check(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        text = f"{report.nodeid}: {reason.removeprefix('Skipped: ')}".replace("\n", " ")
        # fnmatch would read the brackets of a parametrised id as a set of characters.
        plain = text.replace("[", "<").replace("]", ">")
        if not any(fnmatch.fnmatchcase(plain, p.replace("[", "<").replace("]", ">")) for p in self.allowed):
            self.found.append(text)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.check(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.check(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.found and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.found:
            terminalreporter.section("skips that tests/allowed_skips.txt does not allow", red=True)
            for text in sorted(set(self.found)):
                terminalreporter.line(text)
