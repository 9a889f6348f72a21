"""Courses and chapters in the admin's search.

Both tables are small for ever (thousands, tens of thousands of rows with short texts): they are read through, which
finds a word anywhere in a title, as an index would not.
"""

import uuid
from collections.abc import Iterator

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from config.errors import joined
from config.search import Hit, Hits, Person, Query, cut, may_view
from courses.models import Chapter, Course


def search(*, person: Person, query: Query, limit: int) -> Iterator[Hits]:
    """Find courses by code, title, instructor and semester, and their chapters. Two queries."""
    if not may_view(person, "courses.course"):
        return
    courses = find_courses(query)[: limit + 1]
    url = reverse("admin:courses_course_changelist")
    yield cut(_("Courses"), "school", [_course_hit(course) for course in courses], limit, f"{url}?q={query.quoted}")
    chapters = find_chapters(query)[: limit + 1]
    yield cut(_("Chapters"), "menu_book", [_chapter_hit(chapter) for chapter in chapters], limit)


def find_courses(query: Query) -> QuerySet[Course]:
    """Return the courses that have every word, the active ones first."""
    rows = Course.objects.only("course_code", "title", "instructor", "semester", "is_active")
    for word in query.words:
        rows = rows.filter(
            Q(course_code__istartswith=word)
            | Q(title__icontains=word)
            | Q(instructor__icontains=word)
            | Q(semester__icontains=word)
        )
    return rows.order_by("-is_active", "course_code")


def find_chapters(query: Query) -> QuerySet[Chapter]:
    """Return the chapters that have every word, at least one of them in a text of their own."""
    rows = Chapter.objects.select_related("course").only(
        "chapter_code", "title", "is_active", "course__course_code", "course__title"
    )
    own = Q()
    for word in query.words:
        in_chapter = Q(chapter_code__icontains=word) | Q(title__icontains=word)
        own |= in_chapter
        rows = rows.filter(in_chapter | Q(course__course_code__istartswith=word))
    return rows.filter(own).order_by("-is_active", "course__course_code", "order", "chapter_code")


def find_chapter_ids(query: Query, *, limit: int) -> list[uuid.UUID]:
    """Return chapters whose course's code or own code or title has every word. One query."""
    rows = Chapter.objects.all()
    for word in query.words:
        rows = rows.filter(
            Q(chapter_code__icontains=word) | Q(title__icontains=word) | Q(course__course_code__istartswith=word)
        )
    return list(rows.order_by("course__course_code", "order").values_list("pk", flat=True)[:limit])


def _course_hit(course: Course) -> Hit:
    parts = [course.instructor, course.semester, "" if course.is_active else _("switched off")]
    return Hit(
        title=f"{course.course_code} {course.title}",
        detail=str(joined(filter(None, parts))),
        url=reverse("admin:courses_course_change", args=[course.pk]),
    )


def _chapter_hit(chapter: Chapter) -> Hit:
    off = "" if chapter.is_active else _("switched off")
    return Hit(
        title=f"{chapter.course.course_code} {chapter.chapter_code}",
        detail=str(joined(filter(None, [chapter.title, off]))),
        # A chapter has no page of its own: it stands on its course's.
        url=reverse("admin:courses_course_change", args=[chapter.course_id]),
    )
