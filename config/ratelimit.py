"""Rate limits: windows by django-ratelimit, cooldowns by an atomic `cache.add`, and whose request it is.

All counts live in the default cache, which every worker shares; but the events that a learner may send are counted
where they are stored (`telemetry.budget`).
"""

import ipaddress
import logging
import time
from typing import Final

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.text import format_lazy
from django.utils.translation import ngettext_lazy
from django_ratelimit.core import ALL, _get_window, _make_cache_key, get_usage

from config import limits
from config.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

Rate = tuple[int, int]

_WARN_EVERY_SECONDS: Final = 3_600
_last_warning = -float(_WARN_EVERY_SECONDS)


def count_request(group: str, value: str, rate: Rate) -> None:
    """Count one request of `value` (an address, an account) in `group`; `rate` is (requests, window in seconds).

    Raises:
        ApiError: TOO_MANY_REQUESTS with the seconds to the window's end; SERVICE_UNAVAILABLE when the cache
            dropped the counter twice in a row.
    """
    for _ in range(2):
        usage = get_usage(None, group=group, key=lambda _group, _request: value, rate=rate, increment=True)
        if usage is None:
            return
        if usage["time_left"] >= 0:  # -1: the counter expired between the library's `add` and `incr`
            if usage["should_limit"]:
                raise too_many_requests(usage["time_left"])
            return
    raise ApiError(ErrorCode.SERVICE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_BUSY_SECONDS)


def refund_request(group: str, value: str, rate: Rate) -> None:
    """Take back one count of the current window. A window that has ended meanwhile needs none."""
    try:
        cache.decr(_make_cache_key(group, _get_window(value, rate[1]), rate, value, ALL))
    except ValueError:
        return


def counter_keys(group: str, value: str, rate: Rate) -> tuple[str, str]:
    """Return the keys under which `value` is counted now, and was in the window before, which ends a little later."""
    window = _get_window(value, rate[1])
    now, before = (_make_cache_key(group, end, rate, value, ALL) for end in (window, window - rate[1]))
    return now, before


def start_cooldown(key: str, seconds: int) -> None:
    """Let one caller pass in any `seconds`; 0 turns the cooldown off.

    Raises:
        ApiError: TOO_MANY_REQUESTS with the seconds that are left.
    """
    if seconds <= 0:
        return
    now = int(time.time())
    if not cache.add(key, now + seconds, seconds):
        ends = cache.get(key, now)
        raise too_many_requests(int(ends) - now)


def end_cooldown(key: str) -> None:
    """Give a cooldown back."""
    cache.delete(key)


def too_many_requests(retry_after: int) -> ApiError:
    seconds = max(1, retry_after)
    text = ngettext_lazy(
        "Too many requests. Please try again in {seconds} second.",
        "Too many requests. Please try again in {seconds} seconds.",
        seconds,
    )
    return ApiError(ErrorCode.TOO_MANY_REQUESTS, format_lazy(text, seconds=seconds), retry_after=seconds)


def client_address(request: HttpRequest) -> str:
    """Return the address that limits count by: IPv4 whole, IPv6 by its /64, IPv4-mapped IPv6 as IPv4.

    `X-Forwarded-For` counts only for as many proxies as TRUSTED_PROXY_COUNT says, from the right, since each
    proxy appends the peer that it saw and everything left of that is the client's own invention.
    """
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    trusted = settings.TRUSTED_PROXY_COUNT
    if forwarded and not trusted:
        _warn_of_untrusted_proxy()
    peer = request.META.get("REMOTE_ADDR", "")
    return _network(forwarded[-trusted] if trusted and len(forwarded) >= trusted else peer)


def _network(address: str) -> str:
    host = address.partition("]")[0].lstrip("[") if address.startswith("[") else address
    if host.count(":") == 1:  # IPv4 with a port
        host = host.partition(":")[0]
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((ip, 64), strict=False))
        ip = ip.ipv4_mapped
    return str(ip)


def _warn_of_untrusted_proxy() -> None:
    global _last_warning
    now = time.monotonic()
    if now - _last_warning >= _WARN_EVERY_SECONDS:
        _last_warning = now
        logger.warning(
            "X-Forwarded-For arrived, but TRUSTED_PROXY_COUNT is 0: everybody behind that proxy shares one rate limit. "
            "Set TRUSTED_PROXY_COUNT to the number of proxies in front of this server."
        )
