"""The signatures of OSS, computed from what its documentation says, and from nothing that the server or oss2 has.

Version 1: https://www.alibabacloud.com/help/en/oss/developer-reference/include-signatures-in-the-authorization-header
and https://www.alibabacloud.com/help/en/oss/developer-reference/ddd-signatures-to-urls
Version 4: https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4
and https://www.alibabacloud.com/help/en/oss/developer-reference/add-signatures-to-urls
"""

import hashlib
import hmac
import re
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from storage.tests.servers import ACCESS_KEY_ID, ACCESS_KEY_SECRET, hmac_sha1

REGION = "cn-hangzhou"
SKEW_SECONDS = 900
PRESIGNED_MAX_SECONDS = 604_800

_SUBRESOURCES = re.compile(
    "acl|uploads|location|cors|logging|website|referer|lifecycle|delete|append|tagging|objectMeta|uploadId|partNumber"
    "|security-token|position|restore|continuation-token|versionId|versions|encryption|policy|symlink|stat"
    "|response-(content-(type|language|disposition|encoding)|expires|cache-control)"
)


@dataclass(frozen=True)
class Request:
    """What was received: decoded path and query, and the headers by their lower-case names."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


def refusal(request: Request, version: str) -> str:
    """Return the error code of OSS for a request that isn't rightly signed by this version; "" for a good one."""
    if version == "v1":
        return _refusal_of_version_1(request)
    if "x-oss-signature" in request.query:
        return _refusal_of_presigned(request)
    return _refusal_of_signed(request)


# --- Version 1 ----------------------------------------------------------------------------------------------------


def _refusal_of_version_1(request: Request) -> str:
    if "Signature" in request.query:
        date, given, key_id = (request.query.get(name, "") for name in ("Expires", "Signature", "OSSAccessKeyId"))
        if not date.isdigit() or int(date) <= time.time():
            return "AccessDenied"
    else:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        key_id, _, given = rest.partition(":")
        date = request.headers.get("date", "")
        if scheme != "OSS" or not date:
            return "AccessDenied"
        if abs(parsedate_to_datetime(date).timestamp() - time.time()) > SKEW_SECONDS:
            return "RequestTimeTooSkewed"
    if key_id != ACCESS_KEY_ID:
        return "InvalidAccessKeyId"
    expected = hmac_sha1(ACCESS_KEY_SECRET, _to_sign_of_version_1(request, date))
    return "" if hmac.compare_digest(given, expected) else "SignatureDoesNotMatch"


def _to_sign_of_version_1(request: Request, date: str) -> str:
    headers = sorted((name, value) for name, value in request.headers.items() if name.startswith("x-oss-"))
    subresources = sorted((name, value) for name, value in request.query.items() if _SUBRESOURCES.fullmatch(name))
    resource = f"/{request.bucket}/{request.key}"
    if subresources:
        resource += "?" + "&".join(f"{name}={value}" if value else name for name, value in subresources)
    return "\n".join(
        [
            request.method,
            request.headers.get("content-md5", ""),
            request.headers.get("content-type", ""),
            date,
            "".join(f"{name}:{value}\n" for name, value in headers) + resource,
        ]
    )


# --- Version 4 ----------------------------------------------------------------------------------------------------


def _refusal_of_signed(request: Request) -> str:
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    fields = dict(re.findall(r"(\w+)=([^,\s]+)", rest))
    moment = request.headers.get("x-oss-date", "")
    if scheme != "OSS4-HMAC-SHA256" or not {"Credential", "Signature"} <= fields.keys():
        return "AccessDenied"
    if request.headers.get("x-oss-content-sha256") != "UNSIGNED-PAYLOAD":
        return "InvalidArgument"
    if abs(_unix_time(moment) - time.time()) > SKEW_SECONDS:
        return "RequestTimeTooSkewed"
    additional = fields.get("AdditionalHeaders", "")
    return _compare(request, request.query, fields["Credential"], fields["Signature"], moment, additional)


def _refusal_of_presigned(request: Request) -> str:
    query = dict(request.query)
    given = query.pop("x-oss-signature")
    expires, moment = query.get("x-oss-expires", ""), query.get("x-oss-date", "")
    if query.get("x-oss-signature-version") != "OSS4-HMAC-SHA256":
        return "InvalidArgument"
    if not expires.isdigit() or not 1 <= int(expires) <= PRESIGNED_MAX_SECONDS:
        return "AuthorizationQueryParametersError"
    if not _unix_time(moment) - SKEW_SECONDS <= time.time() < _unix_time(moment) + int(expires):
        return "AccessDenied"
    additional = query.get("x-oss-additional-headers", "")
    return _compare(request, query, query.get("x-oss-credential", ""), given, moment, additional)


def _compare(
    request: Request, query: Mapping[str, str], credential: str, given: str, moment: str, additional: str
) -> str:
    key_id, _, scope = credential.partition("/")
    if key_id != ACCESS_KEY_ID:
        return "InvalidAccessKeyId"
    if scope != f"{moment[:8]}/{REGION}/oss/aliyun_v4_request":
        return "InvalidArgument"
    canonical = _canonical_request(request, query, additional)
    to_sign = f"OSS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    date_key = _hmac(b"aliyun_v4" + ACCESS_KEY_SECRET.encode(), moment[:8])
    signing_key = _hmac(_hmac(_hmac(date_key, REGION), "oss"), "aliyun_v4_request")
    return "" if hmac.compare_digest(given, _hmac(signing_key, to_sign).hex()) else "SignatureDoesNotMatch"


def _canonical_request(request: Request, query: Mapping[str, str], additional: str) -> str:
    signed = {"content-type", "content-md5", *additional.split(";")}
    headers = sorted(
        (name, value.strip()) for name, value in request.headers.items() if name in signed or name.startswith("x-oss-")
    )
    parameters = sorted((_encode(name), _encode(value)) for name, value in query.items())
    return "\n".join(
        [
            request.method,
            _encode(f"/{request.bucket}/{request.key}").replace("%2F", "/"),
            "&".join(f"{name}={value}" if value else name for name, value in parameters),
            "".join(f"{name}:{value}\n" for name, value in headers),
            additional,
            request.headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )


def _unix_time(moment: str) -> int:
    return timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ")) if re.fullmatch(r"\d{8}T\d{6}Z", moment) else 0


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
