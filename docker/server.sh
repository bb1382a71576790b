#!/bin/sh
# What the targets server* of the Makefile do; it needs Docker with its compose plugin, and nothing else.
set -eu
cd "$(dirname "$0")/.."
SETTINGS=docker/.env
DATABASES="mlflow mlflow_accounts optuna"

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Compose's progress is a live table on a terminal, and hundreds of lines in a log.
if [ -t 2 ]; then progress=auto; else progress=quiet; fi
compose() { docker compose --progress "$progress" --file docker/compose.yaml --env-file "$SETTINGS" "$@"; }

# Runs another command in a container of a service, without starting what that depends on.
once() { docker compose --progress quiet --file docker/compose.yaml --env-file "$SETTINGS" run --rm --no-deps --no-TTY "$@"; }

build() {
    log=$(mktemp)
    compose build mlflow >"$log" 2>&1 || fail "$(tail -n 20 "$log")" "The server's image cannot be built; see above."
    rm -f "$log"
}

need_docker() {
    command -v docker >/dev/null || fail "docker is not installed. Install Docker Engine with its compose plugin," \
        "or run the server without it: mergershift server --help"
    docker compose version >/dev/null 2>&1 || fail "docker has no compose plugin." \
        "Install it (Debian: docker-compose-plugin) so that \`docker compose version\` works."
    docker info >/dev/null 2>&1 || fail "docker does not answer: $(docker info 2>&1 | grep -i error | tail -n 1)" \
        "Start its engine, and check that this user may use it (group docker)."
}

need_settings() {
    [ -f "$SETTINGS" ] || fail "$SETTINGS is missing. Write it with \`make server-init\`." \
        "For a server that has been restored elsewhere, copy the backup's file settings.env there."
    # Compose prefers the shell's variables to those of a file: a POSTGRES_PASSWORD of another project must not count.
    for name in $(sed -n 's/^\([A-Z][A-Z0-9_]*\)=.*/\1/p' "$SETTINGS"); do unset "$name"; done
}

# Value of a setting in a file of settings.
setting() { sed -n "s/^$1=//p" "${2:-$SETTINGS}"; }

random() { head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

digests() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

address() {
    if [ -n "$(setting TLS_USED)" ]; then
        port=$(setting HTTPS_PORT)
        printf 'https://%s' "$(setting SERVER_NAME)$([ "$port" = 443 ] || printf ':%s' "$port")"
    else
        printf 'http://%s:%s' "$(setting SERVER_NAME)" "$(setting SERVER_PORT)"
    fi
}

init() {
    host=${HOST:-localhost} store=${STORE:-local} tls=${TLS:-}
    [ ! -e "$SETTINGS" ] || fail "$SETTINGS exists and is kept: its passwords are those of the server's stores." \
        "To begin anew: make server-down, delete the server's volumes, then that file."
    case $host in *[!A-Za-z0-9.-]*) fail "HOST=$host: expected the name by which clients reach this machine." ;; esac
    case $store in
    local) artifacts=/artifacts profiles= ;;
    s3) artifacts=s3://mlflow/artifacts profiles=s3 ;;
    *) fail "STORE=$store: expected local (a volume) or s3 (SeaweedFS)." ;;
    esac
    [ -n "$tls" ] || if [ "$host" = localhost ]; then tls=none; else tls=internal; fi
    case $tls in
    none) used='' ;;
    *[!A-Za-z0-9@._+-]*) used=invalid ;;
    internal | *@*.*) used=yes profiles="${profiles:+$profiles,}tls" ;;
    *) used=invalid ;;
    esac
    [ "$used" != invalid ] || fail "TLS=$tls: expected internal (certificates of the server's own authority), an e-mail address (of Let's" \
        "Encrypt) or none."
    bind=127.0.0.1
    if [ -z "$used" ] && [ "$host" != localhost ]; then
        bind=0.0.0.0
        echo "Warning: with TLS=none everyone's password crosses the network as it is."
    fi
    unfinished=$(mktemp docker/.env.XXXXXX)
    trap 'rm -f "$unfinished"' EXIT
    chmod 600 "$unfinished"
    cat >"$unfinished" <<END
# Settings and passwords of the server, written by \`make server-init\`. After a change: make server
COMPOSE_PROFILES=$profiles
# the name by which clients reach the server, and where it listens
SERVER_NAME=$host
SERVER_BIND=$bind
SERVER_PORT=5000
DASHBOARD_PORT=8080
TLS_USED=$used
CADDY_TLS=$tls
HTTP_PORT=80
HTTPS_PORT=443
DASHBOARD_HTTPS_PORT=8443
# 0.0.0.0: workers of a search may run on other machines; their connections to PostgreSQL are not encrypted
DATABASE_BIND=127.0.0.1
DATABASE_PORT=5432
# where artifacts are stored; to change it, restore a backup into a new server
ARTIFACTS=$artifacts
# the first one is for the account \`admin\`
ADMIN_PASSWORD=$(random)
SESSION_KEY=$(random)
POSTGRES_PASSWORD=$(random)
MLFLOW_DATABASE_PASSWORD=$(random)
ACCOUNTS_DATABASE_PASSWORD=$(random)
OPTUNA_DATABASE_PASSWORD=$(random)
DASHBOARD_DATABASE_PASSWORD=$(random)
S3_ACCESS_KEY=$(random)
S3_SECRET_KEY=$(random)
END
    # unlike mv, ln never replaces a file that another process has just written
    ln "$unfinished" "$SETTINGS" 2>/dev/null || fail "$SETTINGS exists and is kept."
    echo "$SETTINGS is written, for $(address). Next: make server"
}

# Waits until all services are healthy and the one-shot ones have done their part.
start() {
    compose up --detach --wait --wait-timeout 300 --remove-orphans || fail "The server has not come up." \
        "See docker compose --file docker/compose.yaml logs; make server-upgrade if a database is of an older version."
    if [ -n "$(setting TLS_USED)" ] && [ "$(setting CADDY_TLS)" = internal ]; then
        compose cp caddy:/data/caddy/pki/authorities/local/root.crt docker/ca.crt >/dev/null 2>&1 ||
            fail "The certificate of Caddy's authority is not there. See docker compose --file docker/compose.yaml logs caddy"
        chmod 644 docker/ca.crt
    else
        rm -f docker/ca.crt
    fi
}

up() {
    build
    start
    dashboard="http://localhost:$(setting DASHBOARD_PORT)"
    [ -z "$(setting TLS_USED)" ] || dashboard="https://$(setting SERVER_NAME):$(setting DASHBOARD_HTTPS_PORT)"
    echo "MLflow:            $(address)   (account admin, its password is ADMIN_PASSWORD in $SETTINGS)"
    echo "optuna-dashboard:  $dashboard"
    [ ! -f docker/ca.crt ] || echo "Its certificates are those of docker/ca.crt, which every teammate needs a copy of."
    echo "Add a teammate:    make server-user NAME=ana ROLE=editor   prints what ana types:"
    echo "  export MLFLOW_TRACKING_URI=$(address)"
    echo "  export MLFLOW_TRACKING_USERNAME=ana MLFLOW_TRACKING_PASSWORD=..."
    [ ! -f docker/ca.crt ] || echo "  export MLFLOW_TRACKING_SERVER_CERT_PATH=.../ca.crt"
    echo "  mergershift team init"
}

user() {
    [ -n "${NAME:-}" ] || fail "Whose account? make server-user NAME=ana ROLE=editor (or reader, maintainer; none to" \
        "remove it)"
    [ "$(compose ps --quiet mlflow | wc -l)" -gt 0 ] || fail "The server is not running. Start it with \`make server\`."
    if [ "${ROLE:-}" = none ]; then
        once bootstrap mergershift team user "$NAME" --remove
    else
        once bootstrap mergershift team user "$NAME" --role "${ROLE:-editor}" --address "$(address)"
        [ ! -f docker/ca.crt ] || echo "  export MLFLOW_TRACKING_SERVER_CERT_PATH=.../ca.crt    # before that: a copy of docker/ca.crt"
    fi
}

# Starts PostgreSQL and what the artifacts are stored in, with every user and database.
stores_up() {
    services=postgres
    case $(setting COMPOSE_PROFILES) in *s3*) services="$services seaweedfs" ;; esac
    # shellcheck disable=SC2086
    compose up --detach --wait --wait-timeout 120 $services >/dev/null 2>&1 ||
        fail "PostgreSQL or the artifact store has not come up. See docker compose --file docker/compose.yaml logs"
    once databases >/dev/null
}

sql() { compose exec -T postgres psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

backup() {
    target=${BACKUP:-backups/$(date -u +%Y-%m-%dT%H-%M-%SZ)}
    [ ! -e "$target" ] || fail "$target exists and is kept. Name another folder: make server-backup BACKUP=..."
    mkdir -p "$(dirname "$target")"
    unfinished=$(mktemp -d "$target.unfinished.XXXXXX")
    trap 'rm -rf "$unfinished"' EXIT
    chmod 700 "$unfinished"
    stores_up
    umask 077
    # Databases first: the artifacts of every run in them are then in what is read afterwards.
    for name in $DATABASES; do
        compose exec -T postgres pg_dump --format=custom --no-owner --no-privileges "$name" >"$unfinished/$name.dump" ||
            fail "The database $name cannot be read; no backup was made."
    done
    once stores python /opt/mergershift/stores.py save >"$unfinished/artifacts.tar" ||
        fail "The artifacts cannot be read; no backup was made."
    cp "$SETTINGS" "$unfinished/settings.env"
    (cd "$unfinished" && digests ./*.dump artifacts.tar settings.env >SHA256SUMS)
    sync
    [ ! -e "$target" ] || fail "$target exists and is kept."
    mv "$unfinished" "$target"
    trap - EXIT
    echo "Saved to $target ($(du -sh "$target" | cut -f 1)), with the server's passwords: keep it as safe as $SETTINGS."
}

check_backup() {
    [ -d "$BACKUP" ] || fail "$BACKUP is not a folder. Name a backup: make server-restore BACKUP=backups/..."
    for file in mlflow.dump mlflow_accounts.dump optuna.dump artifacts.tar settings.env SHA256SUMS; do
        [ -f "$BACKUP/$file" ] || fail "$BACKUP/$file is missing: not a backup of \`make server-backup\`."
    done
    (cd "$BACKUP" && digests -c SHA256SUMS >/dev/null 2>&1) ||
        fail "$BACKUP is damaged: its files are not those that SHA256SUMS was made of. Nothing was changed."
    [ "$(setting ADMIN_PASSWORD)" = "$(setting ADMIN_PASSWORD "$BACKUP/settings.env")" ] ||
        fail "ADMIN_PASSWORD in $SETTINGS is not that of the backup, whose accounts will be restored." \
            "Copy it from $BACKUP/settings.env. Nothing was changed."
    tar -tf "$BACKUP/artifacts.tar" >/dev/null || fail "$BACKUP/artifacts.tar cannot be read. Nothing was changed."
}

# Succeeds if there are neither runs nor searches nor artifacts, and nobody but the administrator has an account.
is_empty() {
    for query in "mlflow runs" "mlflow model_versions" "optuna studies" "mlflow_accounts users WHERE NOT is_admin"; do
        database=${query%% *} rows=${query#* }
        [ -n "$(sql --dbname "$database" --command "SELECT to_regclass('${rows%% *}')")" ] || continue
        [ "$(sql --dbname "$database" --command "SELECT count(*) FROM $rows")" = 0 ] || return 1
    done
    once stores python /opt/mergershift/stores.py empty
}

restore() {
    [ -n "${BACKUP:-}" ] || fail "Which backup? make server-restore BACKUP=backups/..."
    check_backup
    stores_up
    if ! is_empty; then
        [ "${CONFIRM:-}" = replace ] || fail "The server is not empty. To replace its runs, searches, accounts and models by" \
            "those of the backup: make server-restore BACKUP=$BACKUP CONFIRM=replace"
    fi
    compose stop mlflow optuna-dashboard >/dev/null 2>&1
    # Everything is restored beside what is there, which is replaced only when that has succeeded.
    for name in $DATABASES; do
        owner=$name
        [ "$name" != mlflow_accounts ] || owner=accounts
        sql --dbname postgres --command "DROP DATABASE IF EXISTS restored_$name WITH (FORCE)" \
            --command "CREATE DATABASE restored_$name OWNER $owner" >/dev/null 2>&1
        compose exec -T postgres pg_restore --exit-on-error --no-owner --no-privileges --role "$owner" \
            --dbname "restored_$name" <"$BACKUP/$name.dump" ||
            fail "The database $name cannot be restored. Nothing was changed; \`make server\` starts the server again."
    done
    once stores python /opt/mergershift/stores.py load <"$BACKUP/artifacts.tar" ||
        fail "The artifacts cannot be restored. Runs, searches and accounts are unchanged: make server"
    for name in $DATABASES; do
        sql --dbname postgres --command "DROP DATABASE $name WITH (FORCE)" \
            --command "ALTER DATABASE restored_$name RENAME TO $name"
    done
    once databases >/dev/null
    start
    echo "$BACKUP is restored; the server runs: $(address)"
}

upgrade() {
    build
    # Whatever was logged after the backup would be lost by going back to it. The backup is a process of its own, since
    # `set -e` counts for nothing in a function before `||`.
    compose stop mlflow optuna-dashboard >/dev/null 2>&1
    BACKUP=${BACKUP:-backups/$(date -u +%Y-%m-%dT%H-%M-%SZ)}
    BACKUP=$BACKUP sh docker/server.sh backup || {
        compose start mlflow optuna-dashboard >/dev/null 2>&1
        exit 1
    }
    { once mlflow mergershift server --upgrade --no-backup && once stores optuna storage upgrade; } ||
        fail "The upgrade failed. Go back to the earlier version of this checkout, then:" \
            "make server-restore BACKUP=$BACKUP CONFIRM=replace"
    start
    echo "The schemas are up to date and the server runs: $(address)"
}

case ${1:-} in
init) init ;;
up | user | backup | restore | upgrade)
    need_docker
    need_settings
    "$1"
    ;;
down)
    need_docker
    need_settings
    compose down
    echo "The server is down; its data are kept in volumes. \`make server\` starts it again."
    ;;
*) fail "usage: server.sh init|up|down|user|backup|restore|upgrade" ;;
esac
