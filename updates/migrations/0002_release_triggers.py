from django.db import migrations

# Any change of a release, by whatever way, gives the catalogue a new revision in the same transaction, and so does a
# change of who is a tester. The number comes from the clock, so that it never repeats, not even after the row was
# lost. A statement that finds no row changes nothing: every deletion of a user sends two of that kind.
REVISION = """
    CREATE FUNCTION updates_new_catalogue_revision() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM changed) THEN
            INSERT INTO updates_cataloguerevision AS r (id, revision)
            VALUES (1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
            ON CONFLICT (id) DO UPDATE SET revision = greatest(r.revision + 1, excluded.revision);
        END IF;
        RETURN NULL;
    END $$;
"""
TRIGGERS = [
    (f"updates_revision_on_{event.lower()}", event, transition, table)
    for table, events in (
        ("updates_bundlerelease", ("INSERT", "UPDATE", "DELETE")),
        ("accounts_user_groups", ("INSERT", "UPDATE", "DELETE")),
        ("auth_group", ("UPDATE",)),
    )
    for event in events
    for transition in ("OLD" if event == "DELETE" else "NEW",)
]
CREATE_TRIGGERS = "".join(
    f"CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {transition} TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION updates_new_catalogue_revision();"
    for name, event, transition, table in TRIGGERS
)
DROP_TRIGGERS = "".join(f"DROP TRIGGER {name} ON {table};" for name, _, _, table in TRIGGERS)

# Clients keep a folder per version and discard a download when it exists: the bytes of a version that was ever
# published may not change, and its row may not go.
FROZEN = """
    CREATE FUNCTION updates_keep_published_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.first_published_at IS NULL THEN
            RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
        END IF;
        IF TG_OP = 'DELETE' THEN
            RAISE EXCEPTION 'a release that was published can not be deleted' USING ERRCODE = 'restrict_violation';
        END IF;
        IF (NEW.bundle_type, NEW.scope_id, NEW.version, NEW.sha256, NEW.size_bytes, NEW.first_published_at)
            IS DISTINCT FROM
            (OLD.bundle_type, OLD.scope_id, OLD.version, OLD.sha256, OLD.size_bytes, OLD.first_published_at)
        THEN
            RAISE EXCEPTION 'the bytes of a release that was published can not change'
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER updates_release_frozen BEFORE UPDATE OR DELETE ON updates_bundlerelease
    FOR EACH ROW EXECUTE FUNCTION updates_keep_published_bytes();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("updates", "0001_initial"),
        ("accounts", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.RunSQL(
            REVISION + CREATE_TRIGGERS,
            DROP_TRIGGERS + "DROP FUNCTION updates_new_catalogue_revision;",
        ),
        migrations.RunSQL(
            FROZEN,
            "DROP TRIGGER updates_release_frozen ON updates_bundlerelease;"
            "DROP FUNCTION updates_keep_published_bytes;",
        ),
    ]
