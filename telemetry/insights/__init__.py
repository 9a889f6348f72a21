"""What staff see of how a course is going.

access.py       who may see which course, and its learners by name: every page, export and search asks here
courses.py      reads of a course: its figures, activity, chapters and types of events
learners.py     reads of learners: lists of them, and one learner's timeline
charts.py       the pictures of a course's page
pages.py        the pages
downloads.py    the export of a course's events
search.py       courses in the admin's search
overview.py     courses on the admin's first page
counting.py     what to do about counts that are missing or old

All is read from the counts that `telemetry.rollups` keeps; only one learner's events of one day are read themselves.
"""
