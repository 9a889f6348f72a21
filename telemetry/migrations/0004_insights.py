import logging

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

logger = logging.getLogger(__name__)

PERMISSIONS = {"view_courseinsights": "Can view course insights", "export_courseinsights": "Can export events"}

# Events that came before this was counted.
MARK_ALL_DAYS = """
    INSERT INTO telemetry_touchedday (course_id, day)
    SELECT DISTINCT course_id, (event_time AT TIME ZONE 'UTC')::date FROM telemetry_analyticsevent
    WHERE course_id IS NOT NULL AND time_mark = 0
"""


def make_group(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make the group of instructors with its permissions, which Django itself makes only after all migrations.

    A group of this name that is there already is left alone: its members were not meant to get these.
    """
    group, is_new = apps.get_model("auth", "Group").objects.get_or_create(name="Instructors")
    if not is_new:
        logger.warning("The group Instructors is there already, and gets no permissions for insights: check it.")
        return
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="telemetry", model="courseinsights"
    )
    for codename, name in PERMISSIONS.items():
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type, codename=codename, defaults={"name": name}
        )
        group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ('courses', '0003_insights'),
        ('telemetry', '0003_admin_at_size'),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ChapterStanding',
            fields=[
                ('chapter', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='courses.chapter')),
                ('in_progress', models.PositiveIntegerField()),
                ('completed', models.PositiveIntegerField()),
                ('median_seconds', models.FloatField(null=True)),
                ('stopped_in', models.PositiveIntegerField()),
                ('stopped_after', models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='CourseStanding',
            fields=[
                ('course', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='courses.course')),
                ('learners', models.PositiveIntegerField()),
                ('begun', models.PositiveIntegerField()),
                ('finished', models.PositiveIntegerField()),
                ('stopped', models.PositiveIntegerField()),
                ('active_learners', models.PositiveIntegerField()),
                ('counted_at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='TouchedDay',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('course_id', models.UUIDField()),
                ('day', models.DateField(db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name='CourseInsights',
            fields=[
            ],
            options={
                'verbose_name': 'course insights',
                'verbose_name_plural': 'course insights',
                'permissions': [('export_courseinsights', 'Can export events')],
                'proxy': True,
                'default_permissions': ('view',),
                'indexes': [],
                'constraints': [],
            },
            bases=('courses.course',),
        ),
        migrations.CreateModel(
            name='CourseDay',
            fields=[
                ('pk', models.CompositePrimaryKey('course_id', 'day', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('active_learners', models.PositiveIntegerField()),
                ('events', models.PositiveIntegerField()),
                ('course', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='courses.course')),
            ],
        ),
        migrations.CreateModel(
            name='CourseWeek',
            fields=[
                ('pk', models.CompositePrimaryKey('course_id', 'week', blank=True, editable=False, primary_key=True, serialize=False)),
                ('week', models.DateField()),
                ('active_learners', models.PositiveIntegerField()),
                ('course', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='courses.course')),
            ],
        ),
        migrations.CreateModel(
            name='EventTypeDay',
            fields=[
                ('pk', models.CompositePrimaryKey('course_id', 'day', 'event_type', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('event_type', models.CharField(max_length=128)),
                ('events', models.PositiveIntegerField()),
                ('course', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='courses.course')),
            ],
        ),
        migrations.CreateModel(
            name='LearnerDay',
            fields=[
                ('pk', models.CompositePrimaryKey('user_id', 'course_id', 'day', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('events', models.PositiveIntegerField()),
                ('first_event_at', models.DateTimeField()),
                ('last_event_at', models.DateTimeField()),
                ('course', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='courses.course')),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['course', 'day', 'user'], name='telemetry_learnerday_by_day')],
            },
        ),
        migrations.CreateModel(
            name='LearnerStanding',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('chapter_is_completed', models.BooleanField()),
                ('completed', models.PositiveIntegerField()),
                ('last_active_at', models.DateTimeField(null=True)),
                ('has_stopped', models.BooleanField()),
                ('chapter', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='courses.chapter')),
                ('course', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='courses.course')),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index('course', models.OrderBy(models.F('last_active_at'), descending=True, nulls_last=True), models.OrderBy(models.F('id'), descending=True), name='telemetry_standing_by_activity'), models.Index(fields=['course', 'chapter', 'has_stopped'], name='telemetry_standing_by_chapter')],
                'constraints': [models.UniqueConstraint(fields=('user', 'course'), name='telemetry_one_standing_per_user_and_course')],
            },
        ),
        migrations.RunSQL(MARK_ALL_DAYS, migrations.RunSQL.noop),
        migrations.RunPython(make_group, migrations.RunPython.noop),
    ]
