# The server as an image: Python packages and static files are made in a first stage, and only the results are shipped.

# The full image has a compiler, for crcmod: it comes with oss2 and has no wheel. Without a compiler it would fall back
# to pure Python, 40 times as slow; our own uploads are checked by MD5 and don't use it.
FROM python:3.12 AS build

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/venv/bin:$PATH

RUN python -m venv /venv
COPY requirements/production.txt /tmp/production.txt
RUN pip install --requirement /tmp/production.txt

WORKDIR /app
COPY manage.py ./
COPY config ./config
COPY accounts ./accounts
COPY courses ./courses
COPY storage ./storage
COPY updates ./updates
COPY telemetry ./telemetry

# Collecting files needs valid settings, but neither a database nor a real secret: these values live for this command.
RUN APP_ENV=test DATABASE_URL=postgresql://nobody@localhost/nothing \
    JWT_SECRET="$(python -c 'import secrets; print(secrets.token_hex(32))')" \
    python manage.py collectstatic --noinput


FROM python:3.12-slim

# Without an APP_ENV the server is a production server and refuses to start on what only suits a desk.
ENV APP_ENV=production \
    APP_HOST=0.0.0.0 \
    APP_PORT=10723 \
    ARTIFACT_ROOT=/data/artifacts \
    PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# The code belongs to root, so the server can't change it. It writes to two folders only: the bundles in /data, and
# in development the generated secret in .local. A new named volume takes over their owner.
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid app --no-create-home --shell /usr/sbin/nologin app \
    && install --directory --owner=app --group=app /data /data/artifacts /app/.local

COPY --from=build /venv /venv
COPY --from=build /app /app

WORKDIR /app
# By number, so that an orchestrator can see that it isn't root.
USER 10001:10001
VOLUME /data
EXPOSE 10723

# The server answers only to names in ALLOWED_HOSTS, and the loopback address need not be among them.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD python -c "\
import os, urllib.request as web; \
host = os.environ.get('ALLOWED_HOSTS', '').split(',')[0].strip(' .*') or 'localhost'; \
url = 'http://127.0.0.1:' + os.environ['APP_PORT'] + '/healthz'; \
web.urlopen(web.Request(url, headers={'Host': host}), timeout=4)"

CMD ["gunicorn", "-c", "config/gunicorn_conf.py", "config.wsgi:application"]
