"""The query of every protected call, which is written by hand, gives what the ORM gives."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import Model
from django.utils import timezone

from accounts.models import DeviceSession, User
from accounts.selectors import get_session_of_token
from tests.cast import Actor, make_actor

pytestmark = pytest.mark.django_db


def values(instance: Model) -> dict[str, tuple[type, Any]]:
    """Return each field's value with its type; a field that wasn't loaded is loaded by the look at it."""
    found = ((field.attname, getattr(instance, field.attname)) for field in instance._meta.concrete_fields)
    return {name: (type(value), value) for name, value in found}


@pytest.fixture
def full() -> Actor:
    """Somebody of whose columns none is empty: each shows whether it is read as the ORM reads it."""
    actor = make_actor("full", is_staff=True, is_superuser=True)
    now = timezone.now()
    times = ("device_confirmed_at", "created_at", "expires_at", "last_refreshed_at", "superseded_at", "revoked_at")
    moments = {name: now + timedelta(microseconds=number) for number, name in enumerate(times)}
    DeviceSession.objects.update(desktop_version="1.2.3", sidecar_version="2.3.4", **moments)
    User.objects.update(last_login=now, display_name="名字")
    return actor


@pytest.mark.parametrize("name", ["full", "learner"])
def test_it_is_what_the_orm_reads(request: pytest.FixtureRequest, name: str, django_assert_num_queries: Any) -> None:
    actor: Actor = request.getfixturevalue(name)
    with django_assert_num_queries(1):
        session = get_session_of_token(session_id=actor.session.pk, user_id=actor.user.pk)
        assert session is not None
        assert session.user is not None
        read = values(session), values(session.user)
        assert not session.get_deferred_fields()
        assert not session.user.get_deferred_fields()
    expected = DeviceSession.objects.select_related("user").get(pk=actor.session.pk)
    assert expected.user is not None
    assert read == (values(expected), values(expected.user))
    assert (session._state.db, session._state.adding) == (expected._state.db, False)
    assert (session.user._state.db, session.user._state.adding) == (expected._state.db, False)


def test_it_can_be_saved(learner: Actor) -> None:
    session = get_session_of_token(session_id=learner.session.pk, user_id=learner.user.pk)
    assert session is not None
    session.desktop_version = "9.9.9"
    session.save(update_fields=["desktop_version"])
    assert DeviceSession.objects.get(pk=session.pk).desktop_version == "9.9.9"


def test_no_session_of_others(learner: Actor, fellow: Actor) -> None:
    assert get_session_of_token(session_id=learner.session.pk, user_id=fellow.user.pk) is None
    assert get_session_of_token(session_id=uuid.uuid4(), user_id=learner.user.pk) is None


def test_no_session_of_a_deleted_account(learner: Actor) -> None:
    user_id = learner.user.pk
    learner.user.delete()
    assert DeviceSession.objects.filter(pk=learner.session.pk, user=None).exists()
    assert get_session_of_token(session_id=learner.session.pk, user_id=user_id) is None


@pytest.mark.django_db(transaction=True)
def test_a_query_that_the_database_refuses_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes too long, say: the connection is sound, and the database has enough to do."""
    learner = make_actor("learner")
    tries = []

    def refuse(*_: Any) -> None:
        tries.append(1)
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr("accounts.selectors._fetch", refuse)
    with pytest.raises(OperationalError):
        get_session_of_token(session_id=learner.session.pk, user_id=learner.user.pk)
    assert len(tries) == 1
