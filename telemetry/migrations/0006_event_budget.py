from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("telemetry", "0005_types_by_count"),
    ]

    operations = [
        migrations.CreateModel(
            name="EventBudget",
            fields=[
                ("user_id", models.UUIDField(primary_key=True, serialize=False)),
                ("spent", models.PositiveIntegerField()),
                ("ends_at", models.DateTimeField()),
            ],
        ),
        # Counts needn't survive a crash, and an unlogged table costs no write-ahead log.
        migrations.RunSQL(
            "ALTER TABLE telemetry_eventbudget SET UNLOGGED",
            "ALTER TABLE telemetry_eventbudget SET LOGGED",
        ),
    ]
