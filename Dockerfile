# The packages are built in one stage and run in another, which has no build tools.
FROM python:3.11-slim-bookworm AS packages
COPY requirements.txt /
RUN python -m venv /opt/monitor \
 && /opt/monitor/bin/pip install --no-cache-dir --disable-pip-version-check -r /requirements.txt

FROM python:3.11-slim-bookworm
ENV PATH=/opt/monitor/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# cron is for the service of that name in compose.yaml. In a container nobody keeps the login
# records that its PAM configuration insists on.
RUN apt-get update \
 && apt-get install -y --no-install-recommends cron \
 && rm -rf /var/lib/apt/lists/* \
 && sed -i '/pam_loginuid/s/required/optional/' /etc/pam.d/cron \
 && groupadd --gid 10001 monitor \
 && useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin monitor
COPY --from=packages /opt/monitor /opt/monitor
WORKDIR /app
COPY . .
# A throw-away key: collecting files needs settings, but nothing that they protect.
RUN SECRET_KEY=only-to-collect-files python manage.py collectstatic --noinput --verbosity 0 \
 && mkdir -p var && chown monitor:monitor var
# The SQLite file, and the rescue files of token pairs that a database did not take.
VOLUME /app/var
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# The rest is in gunicorn.conf.py.
CMD ["gunicorn", "config.wsgi:application", "--bind", "0.0.0.0:8000", "--worker-tmp-dir", "/dev/shm"]
