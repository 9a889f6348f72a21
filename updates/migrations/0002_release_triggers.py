from django.db import migrations

# Any change of a release, by whatever way, gives the catalogue a new revision in the same transaction. The number
# comes from the clock, so that it never repeats, not even after the row was lost.
REVISION = """
    CREATE FUNCTION updates_new_catalogue_revision() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO updates_cataloguerevision AS r (id, revision)
        VALUES (1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        ON CONFLICT (id) DO UPDATE SET revision = greatest(r.revision + 1, excluded.revision);
        RETURN NULL;
    END $$;
    CREATE TRIGGER updates_release_changed AFTER INSERT OR UPDATE OR DELETE ON updates_bundlerelease
    FOR EACH STATEMENT EXECUTE FUNCTION updates_new_catalogue_revision();
"""

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
    dependencies = [("updates", "0001_initial")]

    operations = [
        migrations.RunSQL(
            REVISION,
            "DROP TRIGGER updates_release_changed ON updates_bundlerelease;"
            "DROP FUNCTION updates_new_catalogue_revision;",
        ),
        migrations.RunSQL(
            FROZEN,
            "DROP TRIGGER updates_release_frozen ON updates_bundlerelease;"
            "DROP FUNCTION updates_keep_published_bytes;",
        ),
    ]
