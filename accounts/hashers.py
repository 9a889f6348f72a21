from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes and one lane: OWASP's Password Storage Cheat Sheet.

    Django's own parameters take 100 MiB and four times as long, which a small server can't give each login.
    """

    time_cost = 2
    memory_cost = 19_456  # KiB
    parallelism = 1
