import pytest
from django.core.exceptions import SuspiciousFileOperation

from storage.keys import check_key, folder_of


@pytest.mark.parametrize(
    "key", ["a", "bundles/chapter/x/ch1_intro/1.0.0/bundle.tar.gz", "a b/ü.bin", "a..b", "k" * 255]
)
def test_a_key_is_returned(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "a/./b",
        ".incoming/x",
        "a\\b",
        "..\\a",
        "a\x00b",
        "a\nb",
        "a\ud800b",
        "k" * 256,
        "ü" * 128,
        "/".join(["k" * 200] * 6),
    ],
)
def test_no_key(key: str) -> None:
    with pytest.raises(SuspiciousFileOperation):
        check_key(key)


def test_a_key_without_a_folder_is_its_own() -> None:
    assert folder_of("a/b/c") == "a/b/"
    assert folder_of("c") == "c"
