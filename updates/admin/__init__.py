"""Releases, API tokens and the audit in the admin. Every change goes through `updates.services`.

releases.py       uploading, registering, and what is done to releases
release_list.py   their list: each scope's together
release_page.py   what the page of one shows: its files, what it changes, what publishing would do
release_forms.py  the forms of drafts
acts.py           the page between choosing releases and publishing, widening or withdrawing them
outlook.py        what an act would do, in sentences with numbers of devices
scopes.py         the page of a scope, and how far releases got
copies.py         a course's button: copy to a new semester
tokens.py         API tokens
events.py         the audit
common.py         what these share
"""

from updates.admin.copies import CopyableCourseAdmin
from updates.admin.events import ReleaseEventAdmin
from updates.admin.releases import BundleReleaseAdmin
from updates.admin.tokens import ApiTokenAdmin

__all__ = ["ApiTokenAdmin", "BundleReleaseAdmin", "CopyableCourseAdmin", "ReleaseEventAdmin"]
