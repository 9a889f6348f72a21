from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("telemetry", "0004_insights"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="eventtypeday",
            index=models.Index(fields=["course", "day", "-events"], name="telemetry_types_by_count"),
        ),
    ]
