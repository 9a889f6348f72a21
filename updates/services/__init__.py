"""Every write of releases. Each act checks who may, takes effect and writes its audit entry in one transaction.

drafts.py         what isn't published: its row, and changing, checking and deleting it
uploads.py        drafts from archives
registrations.py  drafts of archives that lie elsewhere
stated.py         what an archive says that it is, and whether that holds
fetching.py       bounded copies of bytes that come from elsewhere
stored_bytes.py   where archives lie in the store, and who may touch them
verification.py   fetching a release's bytes, to see whether they are right
publication.py    publish, reschedule, widen, withdraw
course_copies.py  a course for a new semester, with what devices are offered in it
tokens.py         API tokens
adoption.py       which versions devices have, as their checks tell
pruning.py        objects in the store that no release names
"""
