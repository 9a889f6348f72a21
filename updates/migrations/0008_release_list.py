from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

NEW_NAMES = {"bundlerelease": ("bundle release", "release"), "releaseevent": ("release event", "audit entry")}


def rename_permissions(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Name the permissions as the models are named now: Django names them once, when it makes them."""
    for model, (before, after) in NEW_NAMES.items():
        for verb in ("add", "change", "delete", "view"):
            apps.get_model("auth", "Permission").objects.filter(
                content_type__app_label="updates", codename=f"{verb}_{model}", name=f"Can {verb} {before}"
            ).update(name=f"Can {verb} {after}")


class Migration(migrations.Migration):
    dependencies = [
        ("courses", "0001_initial"),
        ("updates", "0007_adoption"),
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="apitoken",
            options={"verbose_name": "API token", "verbose_name_plural": "API tokens"},
        ),
        migrations.AlterModelOptions(
            name="bundlerelease",
            options={
                "permissions": [("publish_bundlerelease", "Can publish, widen and withdraw releases")],
                "verbose_name": "release",
                "verbose_name_plural": "releases",
            },
        ),
        migrations.AlterModelOptions(
            name="releaseevent",
            options={"verbose_name": "audit entry", "verbose_name_plural": "audit entries"},
        ),
        migrations.AddIndex(
            model_name="bundlerelease",
            index=models.Index(
                fields=["bundle_type", "scope_id"],
                include=(
                    "id",
                    "version",
                    "state",
                    "chapter",
                    "sha256",
                    "rollout_basis_points",
                    "publish_at",
                    "published_at",
                    "withdrawn_at",
                    "created_at",
                ),
                name="updates_release_list",
            ),
        ),
        migrations.RunPython(rename_permissions, migrations.RunPython.noop),
    ]
