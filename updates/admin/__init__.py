"""Releases, API tokens and the audit in the admin. Every change goes through `updates.services`.

releases.py  uploading, and what is done to releases
acts.py      the page between choosing releases and publishing, widening or withdrawing them
tokens.py    API tokens
events.py    the audit
common.py    what these share
"""

from updates.admin.events import ReleaseEventAdmin
from updates.admin.releases import BundleReleaseAdmin
from updates.admin.tokens import ApiTokenAdmin

__all__ = ["ApiTokenAdmin", "BundleReleaseAdmin", "ReleaseEventAdmin"]
