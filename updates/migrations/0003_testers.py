from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def make_testers_group(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Its members are in every rollout (see `updates.catalogue.TESTERS_GROUP`)."""
    apps.get_model("auth", "Group").objects.get_or_create(name="Testers")


class Migration(migrations.Migration):
    dependencies = [("updates", "0002_release_triggers")]

    operations = [migrations.RunPython(make_testers_group, migrations.RunPython.noop)]
