"""GET /healthz"""

import pytest
from rest_framework.test import APIClient

from tests.cast import error_code


@pytest.mark.django_db
def test_ok(api: APIClient) -> None:
    response = api.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


@pytest.mark.django_db
def test_a_token_is_neither_needed_nor_looked_at(api: APIClient) -> None:
    assert api.get("/healthz", headers={"Authorization": "Bearer broken"}).status_code == 200


def test_wrong_method(api: APIClient) -> None:
    assert error_code(api.post("/healthz")) == "METHOD_NOT_ALLOWED"
