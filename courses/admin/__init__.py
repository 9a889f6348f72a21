"""Courses, chapters and enrolments in the admin. What is more than saving a form goes through `courses.services`.

courses.py       courses: their list and page, and the invite code
chapters.py      the chapters on the page of their course
instructors.py   the instructors on the page of their course
obstacles.py     what keeps one from the insights of their course
enrollments.py   enrolments, removing learners and letting them in again
history.py       the history of a course
panels.py        what is shown of enrolments on the pages of courses and users
common.py        what these share
"""

from courses.admin import panels
from courses.admin.chapters import ChapterAdmin
from courses.admin.courses import CourseAdmin
from courses.admin.enrollments import EnrollmentAdmin

__all__ = ["ChapterAdmin", "CourseAdmin", "EnrollmentAdmin", "panels"]
