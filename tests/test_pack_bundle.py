"""examples/pack_bundle.py: what a pipeline packs with it is accepted."""

import subprocess
import sys
from io import BytesIO

import pytest

from tests.live import BASE_DIR
from updates.bundles.inspect import inspect_bundle
from updates.bundles.manifest import required_experts_of

CHAPTER = "5f0c2f5e-3a0e-4c0f-9a57-2f6f3f1d7f10/ch1_intro"


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "examples/pack_bundle.py", *arguments]
    return subprocess.run(command, cwd=BASE_DIR, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("folder", "bundle_type", "scope_id", "experts"),
    [
        ("chapter/ch1_intro", "chapter", CHAPTER, ["data_inspector", "concept_explainer"]),
        ("experts/data_inspector", "experts", "data_inspector", []),
        ("app_agents/core", "app_agents", "core", []),
    ],
)
def test_what_it_packs_is_accepted_and_always_the_same(
    folder: str, bundle_type: str, scope_id: str, experts: list[str]
) -> None:
    arguments = (f"updates/seed/{folder}", bundle_type, scope_id, "1.1.0", *experts)
    first, second = run(*arguments), run(*arguments)

    found = inspect_bundle(BytesIO(first.stdout), bundle_type=bundle_type, scope_id=scope_id, version="1.1.0")

    assert found.warnings == ()
    assert required_experts_of(found.manifest) == experts
    assert first.stdout == second.stdout


@pytest.mark.parametrize("arguments", [(), ("nowhere", "experts", "x", "1.0.0"), ("updates/seed", "experts")])
def test_wrong_arguments_show_the_usage(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)

    assert (result.returncode, result.stdout) == (2, b"")
    assert b"pack_bundle.py FOLDER" in result.stderr
