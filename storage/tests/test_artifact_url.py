"""URLs that a plain GET downloads."""

import http.client
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import oss2
import pytest
from pytest_django.fixtures import Settings

from storage.artifacts import artifact_url
from storage.tests import servers
from storage.tests.oss_server import OssServer

KEY = "bundles/chapter/a b/ü+%/1.0.0/bundle.tar.gz"
QUOTED = "/bundles/chapter/a%20b/%C3%BC%2B%25/1.0.0/bundle.tar.gz"


def fetch(server: OssServer, url: str) -> tuple[int, bytes]:
    """GET a URL of any host from this server, as the host's name would lead to it."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc})
    response = connection.getresponse()
    try:
        return response.status, response.read()
    finally:
        connection.close()


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def expiry(url: str) -> int:
    """The Unix time at which a URL stops to work, whoever signed it how."""
    query = query_of(url)
    if "x-oss-date" not in query:
        return int(query.get("expires") or query["Expires"])
    signed_at = datetime.strptime(query["x-oss-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return int(signed_at.timestamp()) + int(query["x-oss-expires"])


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


@pytest.mark.parametrize("signature_version", ["v1", "v4"])
class TestSignedByOss:
    def test_downloads_and_making_it_asks_nobody(self, oss: OssServer) -> None:
        oss.objects[KEY] = b"the bytes"

        url = artifact_url(key=KEY, base_url="")

        assert oss.requests == []
        assert url.startswith(f"http://{oss.address}/{servers.BUCKET}{QUOTED}?")
        assert fetch(oss, url) == (200, b"the bytes")
        assert fetch(oss, url.replace("1.0.0", "2.0.0"))[0] == 403
        assert fetch(oss, url.partition("?")[0])[0] == 403

    def test_holds_for_nothing_else(self, oss: OssServer) -> None:
        oss.objects[KEY] = b"the bytes"
        url = artifact_url(key=KEY, base_url="")

        for name, value in query_of(url).items():
            changed = urlsplit(url)._replace(query=urlencode(query_of(url) | {name: f"{value}1"})).geturl()
            assert fetch(oss, changed)[0] == 403, name

    def test_is_valid_for_at_least_the_setting_and_the_same_for_a_while(
        self, oss: OssServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.OSS_DOWNLOAD_URL_EXPIRE_SECONDS = 1000
        oss.objects[KEY] = b"the bytes"
        begin = int(time.time())
        urls = {}
        for second in range(0, 601, 20):
            monkeypatch.setattr("time.time", lambda now=begin + second: float(now))
            urls[second] = artifact_url(key=KEY, base_url="")
            assert 1000 <= expiry(urls[second]) - (begin + second) <= 1000 + 300
            assert expiry(urls[second]) % 300 == 0
            assert fetch(oss, urls[second])[0] == 200

        assert len(set(urls.values())) == 3

    @pytest.mark.parametrize("seconds", [900, 604_499, 604_500, 604_501, 604_800])
    def test_is_valid_for_as_long_as_the_setting_may_be(
        self, oss: OssServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, seconds: int
    ) -> None:
        settings.OSS_DOWNLOAD_URL_EXPIRE_SECONDS = seconds
        oss.objects[KEY] = b"the bytes"
        now = time.time()

        url = artifact_url(key=KEY, base_url="")

        assert fetch(oss, url)[0] == 200
        monkeypatch.setattr("time.time", lambda: now + seconds - 1)
        assert fetch(oss, url)[0] == 200
        monkeypatch.setattr("time.time", lambda: now + seconds + 301)
        assert fetch(oss, url)[0] == 403

    def test_is_valid_exactly_as_long_as_asked(self, oss: OssServer) -> None:
        expires = expiry(artifact_url(key=KEY, base_url="", expires_seconds=60))

        assert 58 <= expires - time.time() <= 61

    @pytest.mark.parametrize("region", ["cn-hangzhou", "oss-cn-hangzhou"])
    def test_at_the_cdn_is_one_that_oss_takes(
        self, oss: OssServer, settings: Settings, region: str, signature_version: str
    ) -> None:
        oss.objects[KEY] = b"the bytes"
        settings.OSS_REGION_ID = region
        settings.OSS_CDN_DOMAIN = "cdn.example.com"

        url = artifact_url(key=KEY, base_url="")

        assert url.startswith(f"https://cdn.example.com{QUOTED}?")
        assert fetch(oss, url) == (200, b"the bytes")
        assert fetch(oss, url.replace("ignature=", "ignature=0"))[0] == 403


class TestOss:
    def test_version_4_is_signed_as_the_sdk_does(self, use_oss: Callable[..., None]) -> None:
        """Ours can begin earlier than now, which is all that sets it apart from the SDK's."""
        use_oss()
        bucket = oss2.Bucket(
            oss2.AuthV4(servers.ACCESS_KEY_ID, servers.ACCESS_KEY_SECRET),
            "https://oss-cn-hangzhou.aliyuncs.com",
            servers.BUCKET,
            region="cn-hangzhou",
        )
        for _ in range(5):  # a second may begin in between
            ours = artifact_url(key=KEY, base_url="", expires_seconds=60)
            its = bucket.sign_url("GET", KEY, 60, slash_safe=True)
            if expiry(ours) == expiry(its):
                break

        assert query_of(ours) == query_of(its)
        assert urlsplit(ours).path == urlsplit(its).path

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

    def test_the_key_is_quoted_as_the_standard_library_does(self) -> None:
        assert "/" + quote(KEY) == QUOTED
