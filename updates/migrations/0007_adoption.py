import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

# Both tables are updated far more often than they grow: room in each page lets an update stay in it, so that it
# touches no index (HOT). The counts of today are updated hundreds of times a second.
ROOM = """
    ALTER TABLE updates_devicebundle SET (fillfactor = 85);
    ALTER TABLE updates_adoptionday SET (fillfactor = 80);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("updates", "0006_authors_and_publishers"),
    ]

    operations = [
        migrations.CreateModel(
            name="AdoptionDay",
            fields=[
                ("pk", models.CompositePrimaryKey("bundle_type", "scope_id", "day", "version", "offered_version", "slot", blank=True, editable=False, primary_key=True, serialize=False)),
                ("bundle_type", models.CharField(max_length=32)),
                ("scope_id", models.CharField(max_length=160)),
                ("day", models.DateField(help_text="UTC.")),
                ("version", models.CharField(help_text="Empty: nothing is installed; `?`: what never was a release here.", max_length=64)),
                ("offered_version", models.CharField(help_text="Empty: it has what it shall have.", max_length=64)),
                ("slot", models.SmallIntegerField()),
                ("devices", models.IntegerField(default=0, help_text="Devices whose last check of that day said so.")),
                ("latest", models.IntegerField(default=0, help_text="Those of them that have not checked since.")),
                ("checks", models.BigIntegerField(default=0, help_text="Checks of all scopes; with the device itself only.")),
            ],
            options={
                "indexes": [django.contrib.postgres.indexes.BrinIndex(fields=["day"], name="updates_adoption_by_day")],
            },
        ),
        migrations.CreateModel(
            name="DeviceBundle",
            fields=[
                ("pk", models.CompositePrimaryKey("session_id", "bundle_type", "scope_id", blank=True, editable=False, primary_key=True, serialize=False)),
                ("bundle_type", models.CharField(max_length=32)),
                ("scope_id", models.CharField(max_length=160)),
                ("version", models.CharField(help_text="As the device says; empty: nothing, or nothing readable.", max_length=64)),
                ("counted_as", models.CharField(help_text="The version that it counts as in `AdoptionDay`.", max_length=64)),
                ("offered_version", models.CharField(help_text="Empty: it has what it shall have.", max_length=64)),
                ("first_seen_on", models.DateField(help_text="UTC.")),
                ("last_seen_on", models.DateField(help_text="UTC.")),
                ("previous_counted_as", models.CharField(max_length=64, null=True)),
                ("previous_offered_version", models.CharField(max_length=64, null=True)),
                ("previous_seen_on", models.DateField(null=True)),
                ("session", models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="bundles", to="accounts.devicesession")),
            ],
        ),
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
    ]
