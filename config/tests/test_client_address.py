"""Whose request it is: what the rate limits count by."""

import logging
from typing import Any

import pytest
from django.test import RequestFactory
from pytest_django.fixtures import Settings

from config import ratelimit
from config.ratelimit import client_address


def address(peer: str = "203.0.113.1", forwarded: str | None = None) -> str:
    extra: dict[str, Any] = {"REMOTE_ADDR": peer}
    if forwarded is not None:
        extra["HTTP_X_FORWARDED_FOR"] = forwarded
    return client_address(RequestFactory().get("/", **extra))


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("no address", "unknown"),
    ],
)
def test_the_peer(peer: str, counted: str) -> None:
    assert address(peer) == counted


def test_the_header_means_nothing_without_a_trusted_proxy() -> None:
    assert address(forwarded="198.51.100.7") == "203.0.113.1"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "counted"),
    [
        (1, "198.51.100.7", "198.51.100.7"),
        (1, "1.1.1.1, 198.51.100.7", "198.51.100.7"),
        (2, "1.1.1.1, 198.51.100.7, 192.0.2.9", "198.51.100.7"),
        (2, "198.51.100.7", "203.0.113.1"),
        (1, "", "203.0.113.1"),
        (1, "198.51.100.7:41234", "198.51.100.7"),
        (1, "[2001:db8:1:2::5]:41234", "2001:db8:1:2::/64"),
        (1, "::ffff:198.51.100.7", "198.51.100.7"),
        (1, "garbage", "unknown"),
    ],
)
def test_trusted_proxies(settings: Settings, proxies: int, forwarded: str, counted: str) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    assert address(forwarded=forwarded) == counted


def test_an_untrusted_proxy_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(ratelimit, "_last_warning", -1e9)
    with caplog.at_level(logging.WARNING):
        address(forwarded="198.51.100.7")
        address(forwarded="198.51.100.8")
    warnings = [record for record in caplog.records if "TRUSTED_PROXY_COUNT" in record.getMessage()]
    assert len(warnings) == 1
