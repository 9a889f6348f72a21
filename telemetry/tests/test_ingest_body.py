"""Bodies of POST /v1/analytics/events:ingest: compression, sizes, and JSON that only some can read."""

import gzip
import json
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError, ValidationError

from config import limits
from config.errors import ApiError, ErrorCode
from telemetry.events import read_events, shown_event_id
from telemetry.models import AnalyticsEvent, ChapterProgress
from telemetry.parsers import split_events
from tests.cast import Actor, error_code

URL = "/v1/analytics/events:ingest"
TIME = "2026-03-01T08:30:00Z"
GOOD = '{"event_type": "opened", "event_time": "2026-03-01T08:30:00Z", "event_id": "good"}'
GZIP = {"HTTP_CONTENT_ENCODING": "gzip"}


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "opened", "event_time": TIME, **fields}


def body(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": events}).encode()


def post(actor: Actor, content: bytes | str, **headers: str) -> Any:
    client: Any = actor.client
    return client.generic("POST", URL, content, "application/json", **headers)


# --- Compression ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_gzip(learner: Actor, encoding: str) -> None:
    content = gzip.compress(body(event(payload={"text": "größer"})))
    response = post(learner, content, HTTP_CONTENT_ENCODING=encoding)
    assert response.json() == {"accepted": 1, "failed": 0, "duplicates": 0, "errors": []}
    assert AnalyticsEvent.objects.get().payload == {"text": "größer"}


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_no_compression(learner: Actor, encoding: str) -> None:
    assert post(learner, body(event()), HTTP_CONTENT_ENCODING=encoding).json()["accepted"] == 1


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "nonsense"])
def test_other_compression(learner: Actor, encoding: str) -> None:
    response = post(learner, body(event()), HTTP_CONTENT_ENCODING=encoding)
    assert response.status_code == 415
    assert error_code(response) == "UNSUPPORTED_MEDIA_TYPE"
    assert not AnalyticsEvent.objects.exists()


@pytest.mark.parametrize(
    "content",
    [
        body(event()),
        b"",
        gzip.compress(body(event()))[:-1],
        gzip.compress(body(event()))[:20],
        gzip.compress(body(event())) + b"more",
        gzip.compress(body(event())[:10]) + gzip.compress(body(event())[10:]),
        gzip.compress(body(event()))[:-8] + bytes(8),
        zlib.compress(body(event())),
    ],
    ids=["none", "empty", "cut off by a byte", "cut off", "more after it", "two members", "wrong checksum", "zlib"],
)
def test_broken_gzip(learner: Actor, content: bytes) -> None:
    response = post(learner, content, **GZIP)
    # The framework brings no empty body to a parser.
    assert (response.status_code, error_code(response)) == (
        (400, "MALFORMED_REQUEST") if content else (422, "VALIDATION_ERROR")
    )
    assert not AnalyticsEvent.objects.exists()


def test_bomb_ends_early(learner: Actor) -> None:
    """4 MiB that would become 4 GiB."""
    member = gzip.compress(bytes(1024 * limits.MIB), 9)
    began = time.process_time()
    response = post(learner, member, **GZIP)
    assert response.status_code == 413
    assert error_code(response) == "PAYLOAD_TOO_LARGE"
    assert time.process_time() - began < 1


def test_largest_body(learner: Actor) -> None:
    content = body(event())
    padded = content + b" " * (limits.EVENTS_BODY_MAX_BYTES - len(content))
    assert post(learner, padded).json()["accepted"] == 1
    assert post(learner, gzip.compress(padded), **GZIP).json()["accepted"] == 1
    for response in (post(learner, padded + b" "), post(learner, gzip.compress(padded + b" "), **GZIP)):
        assert response.status_code == 413
        assert error_code(response) == "PAYLOAD_TOO_LARGE"


def test_compressed_body_larger_than_a_body_may_be(learner: Actor) -> None:
    stored = gzip.compress(bytes(limits.EVENTS_BODY_MAX_BYTES), compresslevel=0)
    assert len(stored) > limits.EVENTS_BODY_MAX_BYTES
    assert error_code(post(learner, stored, **GZIP)) == "PAYLOAD_TOO_LARGE"


def test_full_call(learner: Actor) -> None:
    """As many events as may be sent, each nearly as large as the body allows."""
    room = limits.EVENTS_BODY_MAX_BYTES // limits.EVENTS_PER_CALL_MAX - 200
    events = [event(event_id=str(n), payload={"text": "x" * room}) for n in range(limits.EVENTS_PER_CALL_MAX)]
    assert post(learner, gzip.compress(body(*events)), **GZIP).json()["accepted"] == limits.EVENTS_PER_CALL_MAX


def test_progress_may_be_compressed(learner: Actor, course: Any) -> None:
    content = json.dumps({"course_id": str(course.pk), "chapter_id": "ch1_intro", "status": "IN_PROGRESS"}).encode()

    def report(content: bytes, encoding: str) -> Any:
        client: Any = learner.client
        return client.generic(
            "POST", "/v1/progress/chapter", content, "application/json", HTTP_CONTENT_ENCODING=encoding
        )

    assert report(gzip.compress(content), "gzip").status_code == 200
    assert ChapterProgress.objects.count() == 1
    assert report(content, "gzip").status_code == 400
    assert report(content, "br").status_code == 415
    assert report(gzip.compress(bytes(limits.REQUEST_BODY_MAX_BYTES + 1)), "gzip").status_code == 413


# --- Size of an event -------------------------------------------------------------------------------------------


def test_largest_event(learner: Actor) -> None:
    """Counted as sent, in bytes: also spaces, names and unknown fields."""
    fitting = GOOD.replace("opened", "öpened").encode()
    largest = fitting[:-1] + b" " * (limits.EVENT_MAX_BYTES - len(fitting)) + b"}"
    assert len(largest) == limits.EVENT_MAX_BYTES
    too_large = largest[:-1] + b" }"
    answer = post(learner, b'{"events": [%s, %s]}' % (largest, too_large)).json()
    assert (answer["accepted"], answer["failed"]) == (1, 1)
    (error,) = answer["errors"]
    assert (error["index"], error["event_id"], error["code"]) == (1, "good", "VALIDATION_ERROR")
    assert f"{limits.EVENT_MAX_BYTES:,}" in error["message"]


def test_most_names(learner: Actor) -> None:
    """On all levels together."""
    half = {str(n): n for n in range(limits.EVENT_PAYLOAD_NAMES_MAX // 2)}
    most = {**half, "inner": dict(list(half.items())[1:])}
    answer = post(learner, body(event(payload=most), event(payload={**most, "more": 1}))).json()
    assert (answer["accepted"], answer["errors"][0]["index"]) == (1, 1)


def test_deepest_payload(learner: Actor) -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"a": nested(depth - 1)} if depth > 1 else {}

    deepest = limits.JSON_MAX_DEPTH
    answer = post(learner, body(event(payload=nested(deepest)), event(payload=nested(deepest + 1)))).json()
    assert (answer["accepted"], answer["errors"][0]["index"]) == (1, 1)


# --- JSON that only some can read -------------------------------------------------------------------------------

BAD_EVENTS = {
    "lone surrogate": r'{"event_id": "bad", "event_type": "\ud800", "event_time": "2026-03-01T08:30:00Z"}',
    "lone surrogate in a payload": GOOD[:-1] + r', "payload": {"\udfff": "\ud83d\ud83d"}}',
    "NaN": GOOD[:-1] + ', "payload": {"a": NaN}}',
    "minus infinity": GOOD[:-1] + ', "payload": {"a": [-Infinity]}}',
    "too large a number": GOOD[:-1] + ', "payload": {"a": 1e999}}',
    "integer of many digits": GOOD[:-1] + f', "payload": {{"a": 1{"0" * 9_000}}}}}',
    "nested deeply": GOOD[:-1] + f', "payload": {{"a": {"[" * 10_000}{"]" * 10_000}}}}}',
    "nested deeply in objects": GOOD[:-1] + ', "payload": ' + '{"a":' * 3_000 + "1" + "}" * 3_001,
    "brackets in texts": GOOD[:-1] + r', "payload": {"a": "}]\"}{[", "b": "\\", "c": "\ud800"}}',
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_event_that_is_hardly_json_fails_alone(learner: Actor, bad: str) -> None:
    bad = bad.replace('"good"', '"bad"')
    other = r'{"event_type": "} \" {", "event_time": "2026-03-01T08:30:00Z", "payload": {"a": [{"b": "]"}]}}'
    content = f'{{"before": [{{"a": 1}}], "events": [{GOOD}, {bad} ,{other}], "after": {{"b": [{{}}]}}}}'
    answer = post(learner, content).json()
    assert (answer["accepted"], answer["failed"]) == (2, 1)
    assert (answer["errors"][0]["index"], answer["errors"][0]["code"]) == (1, "VALIDATION_ERROR")
    assert AnalyticsEvent.objects.filter(event_id="good").exists()
    assert AnalyticsEvent.objects.get(event_type='} " {').payload == {"a": [{"b": "]"}]}


@pytest.mark.parametrize(
    "content",
    [
        f'{{"events": [{BAD_EVENTS["NaN"]}, {{"a": 01}}]}}',
        f'{{"events": [{BAD_EVENTS["NaN"]}, {{"a": 1]]}}',
        f'{{"events": [{BAD_EVENTS["NaN"]} {GOOD}]}}',
        f'{{"events": [{BAD_EVENTS["NaN"]}]',
        f'{{"events": [{BAD_EVENTS["NaN"]}]}}]',
        f'{{"events": [{BAD_EVENTS["NaN"]}, "cut off',
        f'{{"events": [{BAD_EVENTS["NaN"]}], "a": NaN}}',
        f'{{"events": [{GOOD}], "a": {"[" * 10_000}{"]" * 10_000}}}',
        f'{{"events": [{GOOD}]}} more',
        "\ufeff\ufeff{}",
        b'{"events": [{"a": "\xff"}]}',
        b'{"events": [{"a": "\xed\xa0\x80"}]}',
        b'{"events": [{"a": "\x01"}]}',
    ],
)
def test_body_that_is_no_json(learner: Actor, content: str | bytes) -> None:
    response = post(learner, content)
    assert response.status_code == 400
    assert error_code(response) == "MALFORMED_REQUEST"
    assert not AnalyticsEvent.objects.exists()


@pytest.mark.parametrize("items", ['1, {"a": NaN}', '{"a": NaN}, []', '{"a": NaN}, [{}]', '[{"a": NaN}]'])
def test_hardly_json_without_a_list_of_objects(learner: Actor, items: str) -> None:
    assert error_code(post(learner, f'{{"events": [{items}]}}')) in ("VALIDATION_ERROR", "MALFORMED_REQUEST")


def test_no_body(learner: Actor) -> None:
    assert error_code(post(learner, b"")) == "VALIDATION_ERROR"


def test_byte_order_mark(learner: Actor) -> None:
    assert post(learner, "\ufeff" + f'{{"events": [{GOOD}]}}').json()["accepted"] == 1


def test_the_last_of_two_fields_counts(learner: Actor) -> None:
    """As most JSON readers have it (RFC 8259, section 4), whether or not an event has to be cut out."""
    for bad in ('{"a": 1}', '{"a": NaN}'):
        answer = post(learner, f'{{"events": [{bad}, {bad}], "events": [{GOOD}]}}').json()
        assert (answer["accepted"], answer["failed"]) == (1, 0)


@pytest.mark.parametrize("element", ["{}", "1", '{"a":{}}'])
def test_many_elements_take_little_memory(element: str) -> None:
    """As one list they would be up to 2 million objects, in 150 MB."""
    content = (
        f'{{"events":[{element}' + f",{element}" * (limits.EVENTS_BODY_MAX_BYTES // (len(element) + 1) - 10) + "]}"
    )
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as refused:
            split_events(content)
        assert tracemalloc.get_traced_memory()[1] < limits.MIB
    finally:
        tracemalloc.stop()
    assert refused.value.code is ErrorCode.PAYLOAD_TOO_LARGE


def test_the_most_events_with_many_elements_of_their_own() -> None:
    """So many commas are read by another decoder."""
    sent = [json.dumps(event(number=number, payload={"list": [1] * 100})) for number in range(1_000)]
    assert [bytes(raw).decode() for raw in split_events(f'{{"events": [{", ".join(sent)}]}}')] == sent
    with pytest.raises(ApiError):
        split_events(f'{{"events": [{", ".join([*sent, sent[0]])}]}}')
    with pytest.raises(ValidationError):
        split_events(f'{{"events": [{", ".join([*sent[1:], "[]"])}]}}')
    with pytest.raises(ParseError):
        split_events(f'{{"events": [{", ".join(sent)}')


@pytest.mark.parametrize(
    "unit",
    ['"', '\\"', '"\\"', "{", "[{", "{}", '{"a":"', "[[[{}]]]", "NaN,", "\\", '[{"\\u', ",{},[]"],
)
def test_hostile_bodies_take_linear_time(unit: str) -> None:
    began = time.process_time()
    for start in ("", '{"events":[', '{"events":["', '{"events":[{"a":NaN},'):
        with pytest.raises((ApiError, ParseError, ValidationError)):
            split_events(start + unit * (30_000 // len(unit)))
    # About 0.02 s; quadratic would be many seconds.
    assert time.process_time() - began < 2


FRAGMENTS = st.sampled_from(
    ['{"events":[', "]}", "{", "}", "[", "]", ",", ":", '"', "\\", '"a"', "1", "-", "NaN", "1e999", '"\\ud800"', " ",
     "é", GOOD, "\x00", '"event_id"', '"events"', "null"]
)  # fmt: skip


@given(st.lists(FRAGMENTS, max_size=20).map("".join) | st.text(max_size=40))
@example('{"events":[{"a":"\ud800"}]}'.encode("utf-8", "replace").decode())
@example('{"events":[[}')
@example('{"events":[{},[},{"a":NaN}]}')
def test_whatever_text_is_read_or_refused(text: str) -> None:
    """Nothing but the errors that are foreseen, and an event that was split off is read or refused as well."""
    try:
        events = split_events(text)
    except (ApiError, ParseError, ValidationError):
        return
    read, refusals = read_events(events)
    assert sorted([event.index for event in read] + list(refusals)) == list(range(len(events)))
    for index in refusals:
        shown_event_id(events[index])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=3), max_size=5), st.booleans())
def test_cut_out_events_are_those_that_were_sent(sent: list[dict[str, Any]], escaped: bool) -> None:
    """By either way of splitting: an event with NaN leads over the other one."""
    for extra in ([], [{"a": float("nan")}]):
        text = json.dumps({"events": [*sent, *extra], "more": sent}, ensure_ascii=escaped)
        try:
            text.encode()
        except UnicodeEncodeError:
            return
        split = [json.loads(bytes(event)) for event in split_events(text)]
        assert json.dumps(split) == json.dumps([*sent, *extra])
