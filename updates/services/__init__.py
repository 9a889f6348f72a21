"""Every write of releases. Each act checks who may, takes effect and writes its audit entry in one transaction.

drafts.py       making, changing, checking and deleting what isn't published
publication.py  publish, widen, withdraw
tokens.py       API tokens
pruning.py      objects in the store that no release names
"""
