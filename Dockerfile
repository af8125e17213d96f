# The program without its demo and tests: web and workers. Never built in the place where it was written.
FROM debian:12-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      python3 python3-venv ca-certificates gnupg gpg-agent \
      libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /var/lib/lifecycle lifecycle

WORKDIR /srv/lifecycle
COPY requirements.txt .
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir -r requirements.txt
COPY . .

ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LIFECYCLE_RUN_DIR=/srv/run

# Static files need the settings to load, not to be true: nothing is connected to.
RUN env SECRET_KEY=build DATABASE_URL=postgres://build@127.0.0.1:1/build KEYSTORE_DIR=/tmp GNUPG_HOME=/tmp \
      SIGNING_FINGERPRINT=0 \
      CERTIFICATES_ENDPOINT=x CERTIFICATES_BUCKET=x CERTIFICATES_KEY=x CERTIFICATES_SECRET=x \
      BACKUPS_ENDPOINT=x BACKUPS_BUCKET=x BACKUPS_KEY=x BACKUPS_SECRET=x \
      python manage.py collectstatic --noinput

USER 10001
EXPOSE 8000
CMD ["gunicorn", "config.wsgi", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "8", "--timeout", "120", "--worker-tmp-dir", "/dev/shm"]
