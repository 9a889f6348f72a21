"""The groups Authors and Publishers, made by a migration before Django makes the permissions."""

import importlib

import pytest
from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import connection

from updates.models import ApiToken, BundleRelease, ReleaseEvent

AUTHORS = {
    "updates.view_bundlerelease",
    "updates.add_bundlerelease",
    "updates.change_bundlerelease",
    "updates.delete_bundlerelease",
    "updates.view_releaseevent",
    "updates.view_apitoken",
    "updates.add_apitoken",
    "updates.change_apitoken",
    "courses.view_course",
    "courses.view_chapter",
}

pytestmark = pytest.mark.django_db


def permissions_of(group: str) -> set[str]:
    rows = Group.objects.get(name=group).permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in rows}


def make_groups() -> None:
    migration = importlib.import_module("updates.migrations.0006_authors_and_publishers")
    with connection.schema_editor(atomic=False) as editor:
        migration.make_groups(apps, editor)


def test_authors_do_all_but_publish() -> None:
    assert permissions_of("Authors") == AUTHORS
    assert permissions_of("Publishers") == AUTHORS | {"updates.publish_bundlerelease"}


def test_what_the_migration_makes_is_what_django_would_make() -> None:
    """On an empty database the migration comes first, and Django's permissions after all migrations."""
    made_by_django = set(Permission.objects.values_list("content_type__app_label", "codename", "name"))
    Group.objects.all().delete()
    Permission.objects.all().delete()

    make_groups()
    for config in apps.get_app_configs():
        create_permissions(config, verbosity=0)

    rows = list(Permission.objects.values_list("content_type__app_label", "codename", "name"))
    assert len(rows) == len(set(rows))
    assert set(rows) == made_by_django
    assert ("updates", "add_bundlerelease", "Can add release") in rows
    assert ("updates", "publish_bundlerelease", "Can publish, widen and withdraw releases") in rows
    assert permissions_of("Authors") == AUTHORS


def test_it_keeps_what_is_there_already() -> None:
    """A database that has the permissions, and a group of that name with members' other rights."""
    before = Permission.objects.count()
    extra = Permission.objects.get(codename="view_user")
    Group.objects.get(name="Authors").permissions.add(extra)

    make_groups()

    assert Permission.objects.count() == before
    assert permissions_of("Authors") == AUTHORS | {"accounts.view_user"}


def test_every_permission_of_a_group_exists_in_the_code() -> None:
    for model in (BundleRelease, ReleaseEvent, ApiToken):
        options = model._meta
        known = {f"{verb}_{options.model_name}" for verb in options.default_permissions}
        known |= {codename for codename, _ in options.permissions}
        used = {name.partition(".")[2] for name in permissions_of("Publishers")}
        assert {name for name in used if name.endswith(f"_{options.model_name}")} <= known
