import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('courses', '0002_joining_and_admin_at_size'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='CourseInstructor',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('may_see_emails', models.BooleanField(default=False, help_text='Off: learners of this course are shown by a pseudonym that stays the same in every page and export.', verbose_name='sees email addresses')),
                ('course', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='instructors', to='courses.course', verbose_name='course')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='instructor_of', to=settings.AUTH_USER_MODEL, verbose_name='instructor')),
            ],
            options={
                'verbose_name': 'instructor',
                'verbose_name_plural': 'instructors',
                'constraints': [models.UniqueConstraint(fields=('course', 'user'), name='courses_instructor_once_per_course')],
            },
        ),
    ]
