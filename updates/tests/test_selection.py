"""Which release is current: properties of the pure functions."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from semver import Version

from updates.selection import (
    Device,
    Release,
    in_rollout,
    is_due,
    known_version,
    may_have,
    meets_minimums,
    parse_minimum,
    parse_version,
    rollout_bucket,
    select_blocked,
    select_current,
    select_update,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def make_release(**fields: Any) -> Release:
    defaults: dict[str, Any] = {
        "bundle_type": "app_agents",
        "scope_id": "core",
        "version": "1.0.0",
        "artifact_key": "bundles/x",
        "external_url": "",
        "sha256": "0" * 64,
        "size_bytes": 1,
        "required_experts": (),
        "is_mandatory": True,
        "min_desktop_version": None,
        "min_sidecar_version": None,
        "strict_versions": False,
        "rollout_basis_points": 10_000,
        "cohort_key": uuid.uuid4(),
        "published_at": NOW - timedelta(days=7),
        "publish_at": None,
    }
    return Release(**{**defaults, **fields})


def published_in_turn(shelf: list[Release]) -> list[Release]:
    """Give the releases times of publication that go with their order: the first is the most recent."""
    return [replace(release, published_at=NOW - timedelta(days=1, hours=n)) for n, release in enumerate(shelf)]


some_version = st.builds(Version, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
maybe_version = st.none() | some_version
releases = st.builds(
    make_release,
    version=st.sampled_from(["1.0.0", "1.1.0", "1.2.0", "2.0.0"]),
    is_mandatory=st.booleans(),
    min_desktop_version=maybe_version,
    min_sidecar_version=maybe_version,
    strict_versions=st.booleans(),
    rollout_basis_points=st.integers(0, 10_000),
    cohort_key=st.uuids(),
    publish_at=st.none() | st.sampled_from([NOW - timedelta(hours=1), NOW, NOW + timedelta(hours=1)]),
)
shelves = st.lists(releases, max_size=6, unique_by=lambda release: release.version).map(published_in_turn)
devices = st.builds(
    Device,
    id=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40),
    is_tester=st.booleans(),
    desktop_version=maybe_version,
    sidecar_version=maybe_version,
)


@given(release=releases, device=devices, wider=st.integers(0, 10_000))
def test_widening_never_takes_a_device_out(release: Release, device: Device, wider: int) -> None:
    widened = replace(release, rollout_basis_points=max(release.rollout_basis_points, wider))

    assert in_rollout(widened, device) or not in_rollout(release, device)


@given(shelf=shelves, device=devices)
def test_what_is_selected_is_the_first_that_the_device_may_have(shelf: list[Release], device: Device) -> None:
    current = select_current(shelf, device, NOW)

    allowed = [release for release in shelf if may_have(release, device, NOW)]
    assert current == (allowed[0] if allowed else None)
    if current is not None:
        assert current.publish_at is None or current.publish_at <= NOW
        assert device.is_tester or in_rollout(current, device)
        for minimum, version in (
            (current.min_desktop_version, device.desktop_version),
            (current.min_sidecar_version, device.sidecar_version),
        ):
            if minimum is not None:
                assert (version >= minimum) if version is not None else not current.strict_versions


@given(shelf=shelves, device=devices)
def test_what_is_blocked_comes_before_the_current_and_lacks_a_minimum_only(
    shelf: list[Release], device: Device
) -> None:
    current, blocked = select_current(shelf, device, NOW), select_blocked(shelf, device, NOW)

    before = shelf[: shelf.index(current)] if current else shelf
    assert blocked == [release for release in before if is_due(release, NOW) and in_rollout(release, device)]
    assert not any(meets_minimums(release, device) for release in blocked)


@given(shelf=shelves, device=devices, installed=st.none() | st.sampled_from(["1.0.0", "1.1.0", "2.0.0", "9.9.9"]))
def test_an_update_is_the_current_release_unless_installed(
    shelf: list[Release], device: Device, installed: str | None
) -> None:
    current, update = select_current(shelf, device, NOW), select_update(shelf, installed, device, NOW)

    if current is None or current.version == installed:
        assert update is None
    else:
        assert update is not None
        assert update.release == current
        versions = [release.version for release in shelf]
        end = shelf.index(current)
        start = versions.index(installed) if installed in versions else len(shelf)
        assert update.mandatory is any(
            release.is_mandatory and is_due(release, NOW) for release in [current, *shelf[end + 1 : max(start, end)]]
        )


@given(shelf=shelves, device=devices, taken=st.integers(0, 5))
def test_a_way_may_begin_at_a_withdrawn_release_but_never_leads_over_one(
    shelf: list[Release], device: Device, taken: int
) -> None:
    """As long as it was published it was on the way; the answer is that without it, from where it stood."""
    assume(taken < len(shelf))
    gone = shelf[taken]
    left = shelf[:taken] + shelf[taken + 1 :]

    update = select_update(left, gone.version, device, NOW, {gone.version: gone.published_at})

    current = select_current(left, device, NOW)
    assert (update.release if update else None) == current
    if update is not None and current is not None:
        ahead = left[left.index(current) : taken] or [current]
        assert update.mandatory is any(release.is_mandatory for release in ahead if is_due(release, NOW))


@given(key=st.uuids(), device_id=st.text(st.characters(codec="utf-8"), max_size=300))
def test_a_bucket_is_stable_and_in_range(key: uuid.UUID, device_id: str) -> None:
    assert 0 <= rollout_bucket(key, device_id) == rollout_bucket(key, device_id) < 10_000


def test_the_formula_of_the_bucket_stays() -> None:
    """Computed with sha256sum: SHA-256 of (key bytes + id), first 8 bytes, big-endian, modulo 10,000."""
    key = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")

    assert rollout_bucket(key, "device-1") == 3645
    assert rollout_bucket(key, "gerät") == 2590


@given(key=st.uuids(), device_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_a_device_comes_in_exactly_when_the_rollout_passes_its_bucket(key: uuid.UUID, device_id: str) -> None:
    bucket, device = rollout_bucket(key, device_id), Device(device_id)

    assert not in_rollout(make_release(cohort_key=key, rollout_basis_points=bucket), device)
    assert in_rollout(make_release(cohort_key=key, rollout_basis_points=bucket + 1), device)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ten_percent_of_100_000_devices_is_ten_percent(seed: int) -> None:
    release = make_release(rollout_basis_points=1_000, cohort_key=uuid.UUID(int=seed))

    inside = sum(in_rollout(release, Device(str(uuid.UUID(int=seed << 64 | number)))) for number in range(100_000))

    assert abs(inside / 100_000 - 0.10) <= 0.005


def test_another_cohort_is_another_tenth() -> None:
    first, second = (make_release(rollout_basis_points=1_000, cohort_key=uuid.UUID(int=n)) for n in (1, 2))
    chosen = [Device(f"device-{number}") for number in range(20_000)]

    both = sum(in_rollout(first, device) and in_rollout(second, device) for device in chosen)

    assert 100 < both < 300  # 1 % of 20,000 is 200


@pytest.mark.parametrize(
    ("points", "device", "inside"),
    [
        (10_000, Device(""), True),
        (9_999, Device(""), False),
        (0, Device("some"), False),
        (10_000, Device("some"), True),
        (0, Device("some", is_tester=True), True),
        (0, Device("", is_tester=True), True),
    ],
)
def test_rollout_at_its_edges(points: int, device: Device, inside: bool) -> None:
    assert in_rollout(make_release(rollout_basis_points=points), device) is inside


def test_testers_get_neither_what_is_not_due_nor_what_their_app_can_not_run() -> None:
    tester = Device("some", is_tester=True, desktop_version=Version(0, 2, 0))

    assert not may_have(make_release(publish_at=NOW + timedelta(seconds=1)), tester, NOW)
    assert not may_have(make_release(min_desktop_version=Version(0, 3, 0)), tester, NOW)
    assert may_have(make_release(publish_at=NOW), tester, NOW)


@pytest.mark.parametrize(
    ("minimum", "version", "strict", "met"),
    [
        (None, None, True, True),
        ("0.3.0", None, False, True),
        ("0.3.0", None, True, False),
        ("0.3.0", "0.3.0", True, True),
        ("0.3.0", "0.10.0", False, True),
        ("0.3.0", "0.3.0-rc.1", False, False),
        ("0.3.0", "0.2.99", False, False),
        ("no version", "999.0.0", False, False),
        ("no version", None, False, True),
    ],
)
def test_minimums(minimum: str | None, version: str | None, strict: bool, met: bool) -> None:
    device = Device("some", sidecar_version=parse_version(version) if version else None)
    release = make_release(min_sidecar_version=parse_minimum(minimum or ""), strict_versions=strict)

    assert meets_minimums(release, device) is met


@pytest.mark.parametrize(
    "text",
    ["", "0.1.0", "1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.2.3\n", " 1.2.3", "1.2.٣", "1.2." + "3" * 70, "x"],
)
def test_what_tells_no_version(text: str) -> None:
    assert known_version(text) is None


@pytest.mark.parametrize("text", ["0.0.0", "0.1.1", "0.1.0-rc.1", "1.2.3+build.5", "0.3.0"])
def test_what_is_a_version(text: str) -> None:
    assert str(known_version(text)) == text


@given(st.text())
def test_any_text_is_a_version_or_none(text: str) -> None:
    version = parse_version(text)

    assert version is None or str(version) == text


@pytest.mark.parametrize(
    ("installed", "mandatory"),
    [
        ("1.3.0", None),
        ("1.2.0", False),
        ("1.1.0", False),
        ("1.0.0", True),
        (None, True),
        ("never published", True),
    ],
)
def test_mandatory_by_the_way_from_the_installed_version(installed: str | None, mandatory: bool | None) -> None:
    shelf = published_in_turn(
        [
            make_release(version="1.3.0", is_mandatory=False),
            make_release(version="1.2.1", is_mandatory=True, publish_at=NOW + timedelta(days=1)),
            make_release(version="1.2.0", is_mandatory=False),
            make_release(version="1.1.0", is_mandatory=True, rollout_basis_points=0),
            make_release(version="1.0.0", is_mandatory=False),
        ]
    )

    selected = select_update(shelf, installed, Device("some"), NOW)

    assert (selected.mandatory if selected else None) is mandatory


def test_the_way_back_to_an_older_release_has_only_its_end() -> None:
    shelf = published_in_turn(
        [
            make_release(version="2.0.0", is_mandatory=True, rollout_basis_points=0),
            make_release(version="1.1.0", is_mandatory=True, rollout_basis_points=0),
            make_release(version="1.0.0", is_mandatory=False),
            make_release(version="0.9.0", is_mandatory=True),
        ]
    )

    selected = select_update(shelf, "2.0.0", Device("some"), NOW)

    assert selected is not None
    assert (selected.release.version, selected.mandatory) == ("1.0.0", False)


def test_due_at_the_very_moment() -> None:
    assert is_due(make_release(publish_at=NOW), NOW)
    assert not is_due(make_release(publish_at=NOW + timedelta(microseconds=1)), NOW)
