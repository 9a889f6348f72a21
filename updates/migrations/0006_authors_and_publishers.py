import logging

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

logger = logging.getLogger(__name__)

RELEASE = ("updates", "bundlerelease")
AUTHORS = {
    RELEASE: ("view", "add", "change", "delete"),
    ("updates", "releaseevent"): ("view",),
    ("updates", "apitoken"): ("view", "add", "change"),
    # Without these the upload's form finds no chapter, and that of a token no course.
    ("courses", "course"): ("view",),
    ("courses", "chapter"): ("view",),
}
PUBLISHERS = {**AUTHORS, RELEASE: (*AUTHORS[RELEASE], "publish")}


def make_groups(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Give the two groups their permissions, which Django itself makes only after all migrations.

    A group of this name that is there already is left alone: its members were not meant to get these.
    """
    for name, actions in (("Authors", AUTHORS), ("Publishers", PUBLISHERS)):
        group, is_new = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        if not is_new:
            logger.warning("The group %s is there already, and gets no permissions for releases: check it.", name)
            continue
        for (app_label, model), verbs in actions.items():
            content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
                app_label=app_label, model=model
            )
            for verb in verbs:
                permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
                    content_type=content_type,
                    codename=f"{verb}_{model}",
                    defaults={"name": _permission_name(apps, app_label, verb, model)},
                )
                group.permissions.add(permission)


def _permission_name(apps: StateApps, app_label: str, verb: str, model: str) -> str:
    options = apps.get_model(app_label, model)._meta
    own = dict(options.permissions)
    return own.get(f"{verb}_{model}", f"Can {verb} {options.verbose_name_raw}")


class Migration(migrations.Migration):
    dependencies = [
        ("updates", "0005_frozen_chapter_code"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
