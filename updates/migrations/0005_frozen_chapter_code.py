from django.db import migrations

# A release keeps its chapter's code in its scope, and clients file what they installed under it: with another code
# they would be offered nothing, and what is published would be nobody's.
FROZEN_CODE = """
    CREATE FUNCTION updates_keep_chapter_code() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (NEW.chapter_code, NEW.course_id) IS DISTINCT FROM (OLD.chapter_code, OLD.course_id)
            AND EXISTS (SELECT FROM updates_bundlerelease WHERE chapter_id = OLD.id)
        THEN
            RAISE EXCEPTION 'the code of a chapter that has releases can not change'
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER updates_chapter_code_frozen BEFORE UPDATE OF chapter_code, course_id ON courses_chapter
    FOR EACH ROW EXECUTE FUNCTION updates_keep_chapter_code();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("updates", "0004_lifecycle"),
        ("courses", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(
            FROZEN_CODE,
            "DROP TRIGGER updates_chapter_code_frozen ON courses_chapter;"
            "DROP FUNCTION updates_keep_chapter_code;",
        ),
    ]
