"""Names that stand for learners."""

import re
import uuid
from typing import Any

import pytest

from config.pseudonyms import keyed_hasher, pseudonym
from config.tests.test_environment import PRODUCTION, refusal

LEARNER = uuid.UUID(int=1)


def test_the_same_learner_has_the_same_pseudonym() -> None:
    first = pseudonym(LEARNER)
    assert re.fullmatch("[a-z2-7]{26}", first)
    assert pseudonym(uuid.UUID(int=1)) == first
    assert pseudonym(uuid.UUID(int=2)) != first


def test_the_key_decides(settings: Any) -> None:
    by_default = pseudonym(LEARNER), keyed_hasher("session")("x")

    settings.PSEUDONYM_KEY = "k" * 32
    by_key = pseudonym(LEARNER), keyed_hasher("session")("x")
    settings.SECRET_KEY = "another" * 10
    assert (pseudonym(LEARNER), keyed_hasher("session")("x")) == by_key

    settings.PSEUDONYM_KEY = ""
    by_another_secret = pseudonym(LEARNER), keyed_hasher("session")("x")
    assert len({*by_default, *by_key, *by_another_secret}) == 6


def test_a_key_is_for_this_use_alone(settings: Any) -> None:
    """What is derived from a secret doesn't help who has the secret as a key of something else."""
    settings.PSEUDONYM_KEY = settings.SECRET_KEY
    assert keyed_hasher("session")("x") != keyed_hasher("event")("x")
    assert re.fullmatch("[0-9a-f]{32}", keyed_hasher("event")("x"))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PSEUDONYM_KEY": "short"}, "PSEUDONYM_KEY must have at least 32 characters"),
        ({"PSEUDONYM_KEY": "change-me" * 5}, "PSEUDONYM_KEY looks like a placeholder"),
        ({"XAPI_BASE_URL": "school"}, "XAPI_BASE_URL must be an absolute"),
    ],
)
def test_a_bad_setting_stops_the_start(variables: dict[str, str], message: str) -> None:
    assert message in refusal(**PRODUCTION, **variables)
