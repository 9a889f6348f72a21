import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import updates.models
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('courses', '0001_initial'),
        ('updates', '0008_release_list'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='adoptionday',
            options={'verbose_name': 'devices of a day', 'verbose_name_plural': 'devices of days'},
        ),
        migrations.AlterModelOptions(
            name='devicebundle',
            options={'verbose_name': 'version on a device', 'verbose_name_plural': 'versions on devices'},
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='abilities',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('read', 'Read: list releases'), ('upload', 'Upload: make, change and delete drafts'), ('publish', 'Publish: publish, widen and withdraw')], max_length=16), size=None, verbose_name='what the token may do'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='bundle_types',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('app_agents', 'App agents'), ('experts_shared', 'Shared experts'), ('experts', 'Expert'), ('chapter', 'Chapter')], max_length=32), blank=True, default=list, help_text='Empty: all.', size=None, verbose_name='kinds of bundles'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='course',
            field=models.ForeignKey(blank=True, help_text="For this course's chapters only.", null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='courses.course', verbose_name='course'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='made (UTC)'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='created_by',
            field=models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='made by'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='digest',
            field=models.CharField(editable=False, help_text='SHA-256 of the token, hex.', max_length=64, unique=True, verbose_name='digest'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='expires_at',
            field=models.DateTimeField(verbose_name='expires (UTC)'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='hint',
            field=models.CharField(editable=False, help_text="The token's first characters, to know it by.", max_length=16, verbose_name='begins with'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='id',
            field=models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='last_used_at',
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name='last used (UTC)'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='name',
            field=models.CharField(help_text="The audit shows it, e.g. the pipeline's name.", max_length=100, unique=True, verbose_name='name'),
        ),
        migrations.AlterField(
            model_name='apitoken',
            name='revoked_at',
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name='revoked (UTC)'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='artifact_key',
            field=models.CharField(blank=True, max_length=512, verbose_name='place in the store'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='bundle_type',
            field=models.CharField(choices=[('app_agents', 'App agents'), ('experts_shared', 'Shared experts'), ('experts', 'Expert'), ('chapter', 'Chapter')], max_length=32, verbose_name='kind of bundle'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='chapter',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='releases', to='courses.chapter', verbose_name='chapter'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='cohort_key',
            field=models.UUIDField(blank=True, help_text='Made anew by each publication.', null=True, verbose_name='cohort'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='made (UTC)'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='created_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL, verbose_name='made by'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='external_url',
            field=models.URLField(blank=True, max_length=1024, verbose_name='URL elsewhere'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='first_published_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='first published (UTC)'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='id',
            field=models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='is_mandatory',
            field=models.BooleanField(default=True, verbose_name='mandatory'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='manifest',
            field=models.JSONField(blank=True, default=dict, verbose_name='manifest'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='min_desktop_version',
            field=models.CharField(blank=True, help_text='A semantic version such as 1.4.0; older apps keep the release before. Empty: any.', max_length=64, validators=[updates.models.validate_semantic_version], verbose_name='minimum desktop version'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='min_sidecar_version',
            field=models.CharField(blank=True, help_text='A semantic version such as 1.4.0; older sidecars keep the release before. Empty: any.', max_length=64, validators=[updates.models.validate_semantic_version], verbose_name='minimum sidecar version'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='publish_at',
            field=models.DateTimeField(blank=True, help_text='Offered from this time on (UTC); empty: as soon as it is published.', null=True, verbose_name='offered from (UTC)'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='published_at',
            field=models.DateTimeField(blank=True, help_text='The last publication; orders the releases.', null=True, verbose_name='published (UTC)'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='required_experts',
            field=models.JSONField(blank=True, default=list, help_text='Ids of the experts that a chapter needs.', validators=[updates.models.validate_expert_ids], verbose_name='required experts'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='rollout_basis_points',
            field=models.PositiveIntegerField(default=10000, help_text='Hundredths of a percent of the devices: 10000 is everybody, 500 is 5 %.', validators=[django.core.validators.MaxValueValidator(10000)], verbose_name='rollout'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='scope_id',
            field=models.CharField(max_length=160, validators=[django.core.validators.RegexValidator('\\A[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)?\\Z', 'One or two parts of letters, digits, dot, underscore and hyphen, and no dot at the start.')], verbose_name='scope'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='sha256',
            field=models.CharField(max_length=64, validators=[django.core.validators.RegexValidator('\\A[0-9a-f]{64}\\Z', '64 lower-case hexadecimal digits.')], verbose_name='SHA-256'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='size_bytes',
            field=models.PositiveBigIntegerField(verbose_name='size in bytes'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='state',
            field=models.CharField(choices=[('draft', 'Draft'), ('published', 'Published'), ('withdrawn', 'Withdrawn')], default='draft', max_length=16, verbose_name='state'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='strict_versions',
            field=models.BooleanField(default=False, help_text="A device of unknown version doesn't get it.", verbose_name='strict about versions'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='verified_at',
            field=models.DateTimeField(blank=True, help_text='When the bytes were last fetched from where they lie, and found right.', null=True, verbose_name='stored file checked (UTC)'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='version',
            field=models.CharField(max_length=64, validators=[django.core.validators.RegexValidator('\\A[A-Za-z0-9_-][A-Za-z0-9._-]*\\Z', 'Use letters, digits, dot, underscore and hyphen only, and no dot at the start.'), updates.models.validate_semantic_version], verbose_name='version'),
        ),
        migrations.AlterField(
            model_name='bundlerelease',
            name='withdrawn_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='withdrawn (UTC)'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='act_id',
            field=models.UUIDField(help_text='Shared by the entries of one act.', verbose_name='act'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='action',
            field=models.CharField(choices=[('created', 'Draft made'), ('changed', 'Draft changed'), ('deleted', 'Draft deleted'), ('published', 'Published'), ('rescheduled', 'Time changed'), ('widened', 'Rollout widened'), ('withdrawn', 'Withdrawn'), ('verified', 'Stored file checked')], max_length=16, verbose_name='action'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='actor_kind',
            field=models.CharField(choices=[('user', 'Person'), ('token', 'API token'), ('admin_key', 'ADMIN_API_KEY'), ('command', 'Command')], max_length=16, verbose_name='kind of actor'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='actor_name',
            field=models.CharField(max_length=254, verbose_name='who'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='bundle_type',
            field=models.CharField(choices=[('app_agents', 'App agents'), ('experts_shared', 'Shared experts'), ('experts', 'Expert'), ('chapter', 'Chapter')], max_length=32, verbose_name='kind of bundle'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='changes',
            field=models.JSONField(default=dict, help_text='Each field that changed: [from, to].', verbose_name='changes'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='when (UTC)'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='id',
            field=models.BigAutoField(primary_key=True, serialize=False, verbose_name='ID'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='notices',
            field=models.JSONField(default=list, help_text='What whoever did it was told.', verbose_name='notices'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='refusal',
            field=models.TextField(blank=True, help_text='Why it was not done; empty: it was.', verbose_name='reason of the refusal'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='release',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='updates.bundlerelease', verbose_name='release'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='scope_id',
            field=models.CharField(max_length=160, verbose_name='scope'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='token',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='updates.apitoken', verbose_name='API token'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='user',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='person'),
        ),
        migrations.AlterField(
            model_name='releaseevent',
            name='version',
            field=models.CharField(max_length=64, verbose_name='version'),
        ),
    ]
