"""Settings of the suite: the defaults of development, whatever the environment and `.env` of this machine say.

Only DATABASE_URL and REDIS_URL are taken over. Without DATABASE_URL the suite has a cluster of its own, apart from
the data of `make run`.
"""

import os
from pathlib import Path

_TAKEN_OVER = ("DATABASE_URL", "REDIS_URL")
_EXAMPLE = Path(__file__).resolve().parent.parent / ".env.example"
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")

for _line in _EXAMPLE.read_text(encoding="utf-8").splitlines():
    _name = _line.lstrip("# ").partition("=")[0]
    if _name.isupper() and _name not in _TAKEN_OVER:
        os.environ.pop(_name, None)
os.environ["APP_ENV"] = "test"

from config.settings import *  # noqa: E402, F403
from config.settings import CACHES, DATABASES, LOCAL_DIR  # noqa: E402

if "CLUSTER_DIR" in DATABASES["default"]:
    DATABASES["default"] |= {"CLUSTER_DIR": LOCAL_DIR / "test-postgres", "DURABLE": False}
CACHES["default"]["KEY_PREFIX"] = f"llm-course-test-{_WORKER}"
# Servers of one checkout are told apart by their port; each process of the suite stands for one.
APP_PORT = 20_000 + os.getpid() % 40_000
ARTIFACT_ROOT = LOCAL_DIR / f"test-artifacts-{_WORKER}"
