#!/usr/bin/env bash
# Everything that CI checks, in the order in which it fails fastest. `lint`: only the first part.
# The first stage that fails ends it; one that cannot run has failed.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stage() { printf '\n== %s\n' "$1"; }

# Settings as an installation behind https has them, and nothing from the caller's environment.
in_production() {
  env -i PATH="$PATH" HOME="$work" DATABASE_URL="sqlite:///$work/db.sqlite3" \
    SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(50))')" \
    TOKEN_ENCRYPTION_KEYS="$(python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())')" \
    SITE_URL=https://monitor.example.org TESTING=False \
    QUICKBOOKS_CLIENT_ID=example QUICKBOOKS_CLIENT_SECRET=example "$@"
}

install_browser() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      echo "The browser tests need Chromium: install it, for example with: apt-get install chromium" >&2
      exit 1
    fi
    as_root=(sudo -n)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends chromium >"$work/apt.log" 2>&1 ||
    { tail -n 20 "$work/apt.log" >&2; exit 1; }
}

stage "style"
ruff check .
ruff format --check .

stage "types"
in_production mypy

stage "doors that stay shut"
in_production lint-imports --no-cache

if [ "${1:-}" = lint ]; then exit 0; fi

stage "migrations and deployment"
in_production python manage.py makemigrations --check --dry-run
in_production python manage.py check --deploy --fail-level WARNING

if ! command -v chromium chromium-browser google-chrome >/dev/null; then
  stage "installing a browser"
  install_browser
fi

# Three processes on two cores, for some wait for a browser or a server; a file stays in one of them,
# so that its fixtures are made once. The files that take long come first (tests/conftest.py), so that
# nobody waits for one of them at the end.
stage "tests on SQLite, with the browser"
python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

stage "tests on PostgreSQL"
python -m tests.postgres python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not browser"
