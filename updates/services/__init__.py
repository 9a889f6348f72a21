"""Every write of releases. Each act checks who may, takes effect and writes its audit entry in one transaction.

drafts.py         making, changing, checking and deleting what isn't published
publication.py    publish, widen, withdraw
course_copies.py  a course for a new semester, with what devices are offered in it
tokens.py         API tokens
adoption.py       which versions devices have, as their checks tell
pruning.py        objects in the store that no release names
"""
