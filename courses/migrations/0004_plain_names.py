from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('courses', '0003_insights'),
    ]

    operations = [
        migrations.AlterField(
            model_name='course',
            name='instructor',
            field=models.CharField(blank=True, help_text='Shown to learners. It gives nobody any rights.', max_length=200, verbose_name="instructor's name"),
        ),
        migrations.AlterField(
            model_name='course',
            name='joinable_by_code',
            field=models.BooleanField(db_default=True, default=True, help_text='When off, new learners need the invite code; the course code alone lets nobody in. Who is in the course stays.', verbose_name='joining by course code'),
        ),
        migrations.AlterField(
            model_name='courseinstructor',
            name='may_see_emails',
            field=models.BooleanField(default=False, help_text='When off, learners of this course are shown by a pseudonym that stays the same in every page and export.', verbose_name='sees email addresses'),
        ),
        migrations.AlterField(
            model_name='enrollment',
            name='removed_at',
            field=models.DateTimeField(blank=True, help_text="When set, the learner can't enter or join again.", null=True, verbose_name='removed at (UTC)'),
        ),
    ]
