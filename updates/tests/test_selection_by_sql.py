"""The walk in memory selects what a plain SQL statement over the stored rows selects."""

import itertools
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import DeviceSession
from tests.cast import Actor
from updates.catalogue import catalogue
from updates.models import BundleRelease
from updates.selection import Device, parse_version, select_current

NAIVE = """
    WITH device (id, tester, desktop, sidecar) AS (
        VALUES (%(id)s, %(tester)s, string_to_array(%(desktop)s, '.')::int[], string_to_array(%(sidecar)s, '.')::int[])
    ), candidate AS (
        SELECT r.*, sha256(uuid_send(r.cohort_key) || convert_to(device.id, 'UTF8')) AS digest, device.id AS device_id,
            tester, desktop, sidecar
        FROM updates_bundlerelease AS r, device
        WHERE r.bundle_type = 'app_agents' AND r.scope_id = 'core' AND r.version LIKE %(versions)s
    ), placed AS (
        SELECT *, (
            (('x' || encode(substr(digest, 1, 4), 'hex'))::bit(32)::bigint %% 10000) * (4294967296 %% 10000)
            + ('x' || encode(substr(digest, 5, 4), 'hex'))::bit(32)::bigint
        ) %% 10000 AS bucket
        FROM candidate
    )
    SELECT version FROM placed
    WHERE state = 'published'
        AND (publish_at IS NULL OR publish_at <= %(now)s)
        AND (tester OR rollout_basis_points = 10000 OR (device_id <> '' AND bucket < rollout_basis_points))
        AND (min_desktop_version = '' OR CASE WHEN desktop IS NULL THEN NOT strict_versions
            ELSE desktop >= string_to_array(min_desktop_version, '.')::int[] END)
        AND (min_sidecar_version = '' OR CASE WHEN sidecar IS NULL THEN NOT strict_versions
            ELSE sidecar >= string_to_array(min_sidecar_version, '.')::int[] END)
    ORDER BY published_at DESC
    LIMIT 1
"""
"""Of the releases whose versions begin alike; an unknown version of the device is NULL."""

State = BundleRelease.State
majors = itertools.count(1)

version_or_none = st.none() | st.sampled_from(["0.9.12", "0.10.2", "0.10.10", "1.0.0", "9.0.0", "10.0.0"])
rows = st.fixed_dictionaries(
    {
        "state": st.sampled_from([State.PUBLISHED, State.PUBLISHED, State.WITHDRAWN, State.DRAFT]),
        "min_desktop_version": version_or_none.map(lambda version: version or ""),
        "min_sidecar_version": version_or_none.map(lambda version: version or ""),
        "strict_versions": st.booleans(),
        "rollout_basis_points": st.sampled_from([0, 1, 5_000, 9_999, 10_000]) | st.integers(0, 10_000),
        "cohort_key": st.uuids(),
        "hours": st.none() | st.integers(-2, 2),
        "age": st.integers(0, 10**6),
    }
)
device_ids = st.just("") | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)


def store(shelf: list[dict[str, Any]], prefix: str) -> None:
    now = timezone.now()
    releases = []
    for number, row in enumerate(shelf):
        fields = {name: value for name, value in row.items() if name not in ("hours", "age")}
        published_at = None if row["state"] == State.DRAFT else now - timedelta(seconds=row["age"])
        releases.append(
            BundleRelease(
                bundle_type="app_agents",
                scope_id="core",
                version=f"{prefix}{number}",
                artifact_key=f"bundles/{uuid.uuid4()}",
                sha256="0" * 64,
                size_bytes=1,
                publish_at=None if row["hours"] is None else now + timedelta(hours=row["hours"]),
                published_at=published_at,
                first_published_at=published_at,
                **fields,
            )
        )
    BundleRelease.objects.bulk_create(releases)


def naive(prefix: str, **device: Any) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(NAIVE, {**device, "now": timezone.now(), "versions": f"{prefix}%"})
        row = cursor.fetchone()
    return row[0] if row else None


@pytest.mark.django_db
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    shelf=st.lists(rows, max_size=7, unique_by=lambda row: row["age"]),
    id=device_ids,
    tester=st.booleans(),
    desktop=version_or_none,
    sidecar=version_or_none,
)
def test_the_walk_equals_naive_sql(
    shelf: list[dict[str, Any]], id: str, tester: bool, desktop: str | None, sidecar: str | None
) -> None:
    prefix = f"{next(majors)}.0."
    store(shelf, prefix)
    catalogue.forget()
    device = Device(id, tester, parse_version(desktop or ""), parse_version(sidecar or ""))

    walked = [r for r in catalogue.snapshot().of_scope("app_agents", "core") if r.version.startswith(prefix)]
    selected = select_current(walked, device, timezone.now())

    expected = naive(prefix, id=id, tester=tester, desktop=desktop, sidecar=sidecar)
    assert (selected.version if selected else None) == expected


@pytest.mark.django_db
def test_so_does_a_check_over_http(learner: Actor) -> None:
    prefix = "1.0."
    shelf = [
        {
            "state": State.PUBLISHED,
            "min_desktop_version": "0.4.0" if number % 4 == 3 else "",
            "min_sidecar_version": "",
            "strict_versions": False,
            "rollout_basis_points": points,
            "cohort_key": uuid.UUID(int=number),
            "hours": None,
            "age": 100 - number,
        }
        for number, points in enumerate([10_000, 8_000, 6_000, 9_000, 4_000, 3_000, 2_000, 5_000])
    ]
    store(shelf, prefix)
    offered = set()
    for number in range(60):
        DeviceSession.objects.filter(pk=learner.session.pk).update(device_id=f"device-{number}")
        body = {"desktop_version": "0.3.0", "installed": {}}

        (descriptor,) = learner.post("/v1/updates/check-app", body).json()["required"]

        expected = naive(prefix, id=f"device-{number}", tester=False, desktop="0.3.0", sidecar=None)
        assert descriptor["version"] == expected
        offered.add(expected)
    assert len(offered) > 4
