"""URLs that a plain GET downloads."""

import http.client
import time
from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from pytest_django.fixtures import Settings

from storage.artifacts import artifact_url
from storage.tests import servers

KEY = "bundles/chapter/a b/ü+%/1.0.0/bundle.tar.gz"
QUOTED = "/bundles/chapter/a%20b/%C3%BC%2B%25/1.0.0/bundle.tar.gz"


def fetch(server: servers.Server, url: str) -> tuple[int, bytes]:
    """GET a URL of any host from this server, as the host's name would lead to it."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc})
    response = connection.getresponse()
    try:
        return response.status, response.read()
    finally:
        connection.close()


def expiry(url: str) -> int:
    query = parse_qs(urlsplit(url).query)
    return int((query.get("expires") or query["Expires"])[0])


class TestLocal:
    def test_begins_with_the_base_and_quotes_the_key(self) -> None:
        url = artifact_url(key=KEY, base_url="https://api.example.com/base/")

        assert url.startswith(f"https://api.example.com/base/artifacts{QUOTED}?expires=")

    def test_is_valid_for_at_least_the_setting_and_rounded_up(self, settings: Settings) -> None:
        settings.OSS_DOWNLOAD_URL_EXPIRE_SECONDS = 1000

        expires = expiry(artifact_url(key=KEY, base_url="http://testserver"))

        assert 999 <= expires - time.time() <= 1000 + 300
        assert expires % 300 == 0

    def test_is_valid_exactly_as_long_as_asked(self) -> None:
        expires = expiry(artifact_url(key=KEY, base_url="http://testserver", expires_seconds=60))

        assert 58 <= expires - time.time() <= 60


class TestOss:
    def test_a_signed_url_downloads_and_making_it_asks_nobody(self, oss: servers.Server) -> None:
        oss.objects[KEY] = b"the bytes"

        url = artifact_url(key=KEY, base_url="")

        assert oss.requests == []
        assert url.startswith(f"http://{oss.address}/{servers.BUCKET}{QUOTED}?")
        assert fetch(oss, url) == (200, b"the bytes")
        assert fetch(oss, url.replace("1.0.0", "2.0.0"))[0] == 403
        assert fetch(oss, url.replace(f"Expires={expiry(url)}", f"Expires={expiry(url) + 1}"))[0] == 403
        assert fetch(oss, url.partition("?")[0])[0] == 403

    def test_is_valid_for_at_least_the_setting_and_the_same_for_a_while(
        self, use_oss: Callable[..., None], settings: Settings
    ) -> None:
        use_oss()
        settings.OSS_DOWNLOAD_URL_EXPIRE_SECONDS = 1000

        expires = expiry(artifact_url(key=KEY, base_url=""))

        assert 999 <= expires - time.time() <= 1000 + 300
        assert expires % 300 in (0, 1)

    def test_is_valid_exactly_as_long_as_asked(self, use_oss: Callable[..., None]) -> None:
        use_oss()

        expires = expiry(artifact_url(key=KEY, base_url="", expires_seconds=60))

        assert 58 <= expires - time.time() <= 61

    @pytest.mark.parametrize(
        ("endpoint", "begin"),
        [
            ("oss-cn-hangzhou.aliyuncs.com", "https://test-bucket.oss-cn-hangzhou.aliyuncs.com"),
            ("https://oss-cn-hangzhou.aliyuncs.com/", "https://test-bucket.oss-cn-hangzhou.aliyuncs.com"),
            ("http://oss-cn-hangzhou.aliyuncs.com", "http://test-bucket.oss-cn-hangzhou.aliyuncs.com"),
        ],
    )
    def test_the_endpoint_with_and_without_a_scheme(
        self, use_oss: Callable[..., None], endpoint: str, begin: str
    ) -> None:
        use_oss(OSS_ENDPOINT=endpoint)
        assert artifact_url(key=KEY, base_url="").startswith(f"{begin}{QUOTED}?")

        use_oss(OSS_ENDPOINT=endpoint, OSS_DOWNLOAD_SIGNED_URL_ENABLED=False)
        assert artifact_url(key=KEY, base_url="") == begin + QUOTED

    @pytest.mark.parametrize(
        ("domain", "begin"),
        [
            ("cdn.example.com", "https://cdn.example.com"),
            ("https://cdn.example.com/", "https://cdn.example.com"),
            ("http://cdn.example.com", "http://cdn.example.com"),
        ],
    )
    def test_a_plain_url_of_the_cdn(self, use_oss: Callable[..., None], domain: str, begin: str) -> None:
        use_oss(OSS_CDN_DOMAIN=domain, OSS_DOWNLOAD_SIGNED_URL_ENABLED=False)

        assert artifact_url(key=KEY, base_url="") == begin + QUOTED

    def test_a_signed_url_of_the_cdn_is_one_that_oss_takes(
        self, oss: servers.Server, use_oss: Callable[..., None]
    ) -> None:
        oss.objects[KEY] = b"the bytes"
        use_oss(OSS_CDN_DOMAIN="cdn.example.com")

        url = artifact_url(key=KEY, base_url="")

        assert url.startswith(f"https://cdn.example.com{QUOTED}?")
        assert fetch(oss, url) == (200, b"the bytes")
        assert fetch(oss, url.replace("Signature=", "Signature=x"))[0] == 403

    def test_the_key_is_quoted_as_the_standard_library_does(self) -> None:
        assert "/" + quote(KEY) == QUOTED
